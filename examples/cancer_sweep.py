"""A whole machine-learning pipeline in the kfp DSL: a real data set, a sweep over hyper-parameters, a model that is only accepted when it is good.

The data set is the Breast Cancer Wisconsin set that scikit-learn ships (569 patients, 30 measurements each).

    python examples/cancer_sweep.py                                   # compiles it to cancer_sweep.yaml
    tidemill run cancer_sweep.yaml -p good_enough=0.95 --watch        # runs it
"""
from typing import List

from kfp import compiler, dsl
from kfp.dsl import ClassificationMetrics, Dataset, Input, Metrics, Model, Output

IMAGE = 'python:3.11'
SKLEARN = ['scikit-learn==1.7.2']


@dsl.component(base_image=IMAGE, packages_to_install=SKLEARN)
def load(data: Output[Dataset]) -> int:
    """Writes the data set as CSV; returns the number of patients."""
    import csv
    from sklearn.datasets import load_breast_cancer
    bunch = load_breast_cancer()
    with open(data.path, 'w', newline='') as f:
        writer = csv.writer(f)
        writer.writerow([*bunch.feature_names, 'benign'])
        for row, label in zip(bunch.data, bunch.target):
            writer.writerow([*row, label])
    data.metadata['rows'] = len(bunch.target)
    data.metadata['features'] = len(bunch.feature_names)
    return len(bunch.target)


@dsl.component(base_image=IMAGE, packages_to_install=SKLEARN)
def split(data: Input[Dataset], test_share: float, train: Output[Dataset], test: Output[Dataset]):
    """Splits by label, so that both parts have the same share of benign cases."""
    import csv
    from sklearn.model_selection import train_test_split
    with open(data.path, newline='') as f:
        header, *rows = csv.reader(f)
    parts = train_test_split(rows, test_size=test_share, random_state=7, stratify=[r[-1] for r in rows])
    for artifact, part in zip((train, test), parts):
        with open(artifact.path, 'w', newline='') as f:
            csv.writer(f).writerows([header, *part])
        artifact.metadata['rows'] = len(part)


@dsl.component(base_image=IMAGE, packages_to_install=SKLEARN)
def fit(train: Input[Dataset], c: float, metrics: Output[Metrics]) -> float:
    """Cross-validated accuracy of a regularised logistic regression with inverse strength c."""
    import csv
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    with open(train.path, newline='') as f:
        _, *rows = csv.reader(f)
    x = [[float(v) for v in r[:-1]] for r in rows]
    y = [int(r[-1]) for r in rows]
    scores = cross_val_score(make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000)), x, y, cv=5)
    metrics.log_metric('accuracy', float(scores.mean()))
    metrics.log_metric('c', c)
    print(f'c={c}: accuracy {scores.mean():.4f} +- {scores.std():.4f}')
    return float(scores.mean())


@dsl.component(base_image=IMAGE)
def choose(candidates: List[float], accuracies: List[float]) -> float:
    """The candidate with the best accuracy."""
    best = max(zip(accuracies, candidates))
    print('candidates:', dict(zip(candidates, accuracies)), 'best:', best)
    return best[1]


@dsl.component(base_image=IMAGE, packages_to_install=SKLEARN)
def evaluate(train: Input[Dataset], test: Input[Dataset], c: float, model: Output[Model], metrics: Output[Metrics],
             report: Output[ClassificationMetrics]) -> float:
    """Trains the chosen model on all training data and judges it on what it has not seen."""
    import csv
    import pickle
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, confusion_matrix, roc_auc_score, roc_curve
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def read(artifact):
        with open(artifact.path, newline='') as f:
            _, *rows = csv.reader(f)
        return [[float(v) for v in r[:-1]] for r in rows], [int(r[-1]) for r in rows]

    x, y = read(train)
    x_test, y_test = read(test)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000)).fit(x, y)
    guess, score = pipeline.predict(x_test), pipeline.predict_proba(x_test)[:, 1]
    accuracy = float(accuracy_score(y_test, guess))
    metrics.log_metric('accuracy', accuracy)
    metrics.log_metric('roc_auc', float(roc_auc_score(y_test, score)))
    report.log_confusion_matrix(['malignant', 'benign'], confusion_matrix(y_test, guess).tolist())
    fpr, tpr, thresholds = roc_curve(y_test, score)
    report.log_roc_curve(fpr.tolist(), tpr.tolist(), thresholds.tolist())
    with open(model.path, 'wb') as f:
        pickle.dump(pipeline, f)
    model.framework = 'scikit-learn'
    model.metadata['c'] = c
    model.metadata['accuracy'] = accuracy
    return accuracy


@dsl.component(base_image=IMAGE)
def accept(model: Input[Model], accuracy: float) -> str:
    """Stands for whatever follows a good model: a registry, a deployment."""
    import os
    text = f'accepted: {model.metadata["framework"]} model of {os.path.getsize(model.path)} bytes, accuracy {accuracy:.4f}'
    print(text)
    return text


@dsl.component(base_image=IMAGE)
def reject(accuracy: float, good_enough: float) -> str:
    text = f'rejected: accuracy {accuracy:.4f} is below {good_enough}'
    print(text)
    return text


@dsl.pipeline(name='cancer-sweep', description='Sweeps a hyper-parameter and accepts the best model if it is good enough.')
def cancer_sweep(candidates: List[float] = [0.01, 0.1, 1.0, 10.0], test_share: float = 0.25, good_enough: float = 0.9):
    data = load()
    parts = split(data=data.outputs['data'], test_share=test_share)
    with dsl.ParallelFor(candidates, name='sweep') as c:
        fitted = fit(train=parts.outputs['train'], c=c)
    best = choose(candidates=candidates, accuracies=dsl.Collected(fitted.outputs['Output']))
    judged = evaluate(train=parts.outputs['train'], test=parts.outputs['test'], c=best.output)
    with dsl.If(judged.outputs['Output'] >= good_enough, name='good'):
        accept(model=judged.outputs['model'], accuracy=judged.outputs['Output'])
    with dsl.Else(name='bad'):
        reject(accuracy=judged.outputs['Output'], good_enough=good_enough)


if __name__ == '__main__':
    compiler.Compiler().compile(cancer_sweep, 'cancer_sweep.yaml')
    print('wrote cancer_sweep.yaml')
