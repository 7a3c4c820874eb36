"""Wide pipelines in which many features meet at once: what test_pipelines_wide.py has one or two at a time. Same way of running and looking."""
import json
from typing import Dict, List, NamedTuple, Optional

import pytest
from conftest import needs_node
from kfp import dsl, kubernetes
from kfp.dsl import Dataset, Input, Metrics, Model, Output
from test_pipelines_wide import IMAGE, add, breaks, check, check_list, echo, equal, named, read, read_all, rows, runs_of, states, status_is, write

CASES = {}


def case(want='SUCCEEDED', cache=False, **arguments):
    def register(f):
        CASES[f.__name__] = (f, arguments, want, cache)
        return f
    return register


def pods_of(t, r):
    return json.loads(t.kubectl('get', 'pods', '-n', 'kubeflow', '-o', 'json', '-l', f'pipeline/runid={r.run_id}').stdout)['items']


# ---- steps that most of them use ------------------------------------------------------------------------------------------

@dsl.container_component
def flaky(n: int, tries: int, out: dsl.OutputPath(str)):
    """Fails until it has been tried often enough."""
    return dsl.ContainerSpec(image='alpine:3.20', args=[n, tries, out], command=[
        'sh', '-c', 'test "$KFP_RETRY_INDEX" -ge "$1" || exit 9; mkdir -p "$(dirname "$2")"; printf "%s" "$0:$KFP_RETRY_INDEX" > "$2"'])


@dsl.component(base_image=IMAGE)
def train(rate: float, data: Input[Dataset], m: Output[Model], metrics: Output[Metrics]) -> float:
    text = open(data.path).read()
    open(m.path, 'w').write(f'{text}@{rate}')
    m.metadata.update({'rate': rate, 'framework': 'none', 'tags': ['a', {'b': None}]})
    metrics.log_metric('score', 1 - rate)
    return 1 - rate


@dsl.component(base_image=IMAGE)
def best(models: Input[List[Model]], scores: List[float], m: Output[Model]) -> NamedTuple('Best', score=float, at=int):
    at = max(range(len(scores)), key=lambda i: scores[i])
    open(m.path, 'w').write(open(models[at].path).read())
    m.metadata['rate'] = models[at].metadata['rate']
    return (scores[at], at)


@dsl.component(base_image=IMAGE)
def texts_of(d: Input[List[Dataset]]) -> List[str]:
    return [open(x.path).read() for x in d]


@dsl.component(base_image=IMAGE)
def join(a: str, b: str) -> str:
    return f'{a}-{b}'


@dsl.component(base_image=IMAGE)
def label(a: int, b: int) -> str:
    return f'{a}-{b}'


# ---- mixes (the compiler of 2.17 loses track of texts that are put together of items of nested loops, or of items within branches, and of branches behind
# pipelines with branches: it writes references that lead nowhere, which are refused; steps put such texts together here) ----------------------------------------------------------------------------------------------------------------

@case()
def collected_over_conditions_in_nested_loops():
    """Holes at two depths, of a value and of an artifact, gathered outside of both loops."""
    @dsl.pipeline(name='holes-in-depth')
    def p(limit: int = 2):
        with dsl.ParallelFor([1, 2, 3]) as a:
            with dsl.ParallelFor([0, 1, 2], parallelism=2) as b:
                with dsl.If(a >= limit):
                    with dsl.If(b != 1):
                        s = add(a=a, b=b)
                        w = write(text=label(a=a, b=b).output).after(s)
        check_list(got=dsl.Collected(s.output), want=[[], [2, 4], [3, 5]])
        equal(got=read_all(ds=dsl.Collected(w.outputs['d'])).output, want='2-0,2-2,3-0,3-2')
    return p, lambda t, r: sorted(states(r, 'add')) == ['SKIPPED'] * 5 + ['SUCCEEDED'] * 4


@case()
def exit_handlers_around_nested_pipelines_with_retries():
    """A handler in a handler; below them a pipeline whose leaf retries by the policy of the task that instantiates it."""
    @dsl.pipeline(name='leaf')
    def leaf(n: int) -> str:
        return flaky(n=n, tries=1).outputs['out']

    @dsl.pipeline(name='middle')
    def middle(n: int):
        inner = status_is(want='COMPLETE', name='exit-handler-1')
        with dsl.ExitHandler(inner, name='inner guard'):
            equal(got=leaf(n=n).output, want=f'{n}:1')

    @dsl.pipeline(name='guards')
    def p():
        outer = status_is(want='COMPLETE', name='exit-handler-1')
        with dsl.ExitHandler(outer, name='outer guard'):
            with dsl.ParallelFor([1, 2]) as n:
                middle(n=n).set_retry(num_retries=2, backoff_duration='0s')
    return p, lambda t, r: states(r, 'flaky') == ['SUCCEEDED'] * 2 and states(r, 'status-is') == ['SUCCEEDED'] * 3


@case(want='FAILED')
def a_handler_that_hands_on_what_failed_after_retries():
    """Retries are used up, the nested handler and the outer one both run and say so; a task beside goes on."""
    @dsl.pipeline(name='inner')
    def inner(n: int):
        told = status_is(want='FAILED', name='exit-handler-1')
        with dsl.ExitHandler(told, name='inner guard'):
            flaky(n=n, tries=9).set_retry(num_retries=1, backoff_duration='0s')

    @dsl.pipeline(name='used-up')
    def p():
        told = status_is(want='FAILED', name='exit-handler-1')
        with dsl.ExitHandler(told, name='outer guard'):
            inner(n=1)
        echo(text='beside').set_display_name('beside')

    def look(t, r):
        assert states(r, 'status-is') == ['SUCCEEDED'] * 2 and states(r, 'beside') == ['SUCCEEDED'] and states(r, 'flaky') == ['FAILED']
        assert len([x for x in pods_of(t, r) if 'flaky' in x['metadata']['name']]) == 2
    return p, look


@case()
def importers_in_a_loop():
    """A URI for each item, known artifacts reused between iterations, and what they say of themselves collected."""
    @dsl.component(base_image=IMAGE)
    def about(d: Input[Dataset]) -> str:
        return f'{d.uri.rsplit("/", 1)[-1]} {d.metadata["of"]} {type(d).__name__}'

    @dsl.pipeline(name='imports-one')
    def one(n: str) -> str:
        uri = echo(text=f'minio://mlpipeline/given/{n}')
        i = dsl.importer(artifact_uri=uri.output, artifact_class=Dataset, reimport=False, metadata={'of': n})
        return about(d=i.output).output

    @dsl.pipeline(name='imports-in-a-loop')
    def p(names: List[str] = ['a', 'b', 'a']):
        with dsl.ParallelFor(names, parallelism=1) as n:
            s = one(n=n)
        check_list(got=dsl.Collected(s.output), want=['a a Dataset', 'b b Dataset', 'a a Dataset'])
    return p, None


@case()
def models_chosen_from_a_sweep():
    """Data, a loop over rates with artifacts, metrics and scores gathered, a choice, a branch on it, and what either branch gives."""
    @dsl.pipeline(name='accepts')
    def accepts(m: Input[Model], score: float, least: float) -> str:
        with dsl.If(score >= least):
            a = echo(text='accepted')
        with dsl.Else():
            b = echo(text='refused')
        return dsl.OneOf(a.output, b.output)

    @dsl.pipeline(name='sweep')
    def sweep(rates: List[float], data: Input[Dataset], least: float) -> NamedTuple('S', m=Model, verdict=str):
        with dsl.ParallelFor(rates, parallelism=2) as rate:
            one = train(rate=rate, data=data)
        b = best(models=dsl.Collected(one.outputs['m']), scores=dsl.Collected(one.outputs['Output']))
        v = accepts(m=b.outputs['m'], score=b.outputs['score'], least=least)
        return NamedTuple('S', m=Model, verdict=str)(b.outputs['m'], v.output)

    @dsl.component(base_image=IMAGE)
    def look_at(m: Input[Model], want: str):
        assert open(m.path).read() == want and m.metadata['rate'] == 0.25, (open(m.path).read(), m.metadata)

    @dsl.pipeline(name='chosen')
    def p(rates: List[float] = [0.75, 0.25, 0.5]):
        d = write(text='rows')
        good = sweep(rates=rates, data=d.outputs['d'], least=0.7)
        bad = sweep(rates=rates, data=d.outputs['d'], least=0.8)
        look_at(m=good.outputs['m'], want='rows@0.25')
        equal(got=good.outputs['verdict'], want='accepted')
        equal(got=bad.outputs['verdict'], want='refused')

    def look(t, r):
        made = json.loads(t.cli('artifacts', r.run_id, '--json').stdout)['artifacts']
        assert len([a for a in made if a['type'] == 'system.Model']) == 8, made
    return p, look


@case()
def optional_inputs_through_three_levels():
    """None, the default of a level in between, and a value given, for a parameter and an artifact at once."""
    @dsl.component(base_image=IMAGE)
    def tell(d: Optional[Input[Dataset]] = None, word: Optional[str] = None, n: Optional[int] = 7, of: Optional[dict] = None) -> list:
        return [None if d is None else open(d.path).read(), word, n, of]

    @dsl.pipeline(name='third')
    def third(d: Optional[Input[Dataset]] = None, word: Optional[str] = None, n: Optional[int] = 3, of: Optional[dict] = None) -> list:
        return tell(d=d, word=word, n=n, of=of).output

    @dsl.pipeline(name='second')
    def second(d: Optional[Input[Dataset]] = None, word: Optional[str] = 'second', of: Optional[dict] = {'l': ['x', 1]}) -> list:
        return third(d=d, word=word, of=of).output

    @dsl.pipeline(name='levels')
    def p(none: list, given: list, word: Optional[str] = None):
        check_list(got=second(word=word).output, want=none).set_display_name('none')
        check_list(got=second(d=write(text='x').outputs['d'], word='w', of={}).output, want=given).set_display_name('given')
    return p, None, {'none': [None, 'second', 3, {'l': ['x', 1]}], 'given': ['x', 'w', 3, {}]}


@case(word='q"\' $(id) `id` {{x}}\n\ttab', nested={'k': {'l': [1, 'zwei', None, True]}})
def structures_with_values_in_them():
    """Dicts and lists that are put together of inputs, outputs and loop items, also where the text is hostile to shells."""
    @dsl.component(base_image=IMAGE)
    def same(got: dict, want: dict) -> dict:
        assert got == want, (got, want)
        return got

    @dsl.pipeline(name='structures')
    def p(word: str, nested: dict, n: int = 3, on: bool = True):
        e = echo(text=word)
        equal(got=e.output, want=word)
        d = same(got={'word': word, 'deep': {'list': [word, {'again': e.output}]}}, want={'word': word, 'deep': {'list': [word, {'again': word}]}})
        same(got=nested, want=nested).after(d)
        with dsl.ParallelFor([{'a': 'x', 'b': [1, {'c': 'd'}]}, {'a': 'y', 'b': []}]) as item:
            s = same(got=item, want=item)
        check_list(got=dsl.Collected(s.output), want=[{'a': 'x', 'b': [1, {'c': 'd'}]}, {'a': 'y', 'b': []}])
    return p, None


@case()
def lists_of_artifacts_through_pipelines_and_branches():
    @dsl.pipeline(name='makes')
    def makes(texts: List[str], twice: bool) -> List[Dataset]:
        with dsl.ParallelFor(texts) as x:
            with dsl.If(twice == True):  # noqa: E712
                a = write(text=join(a=x, b=x).output)
            with dsl.Else():
                b = write(text=x)
            one = read(d=dsl.OneOf(a.outputs['d'], b.outputs['d']))
            w = write(text=one.output)
        return dsl.Collected(w.outputs['d'])

    @dsl.pipeline(name='artifact-lists')
    def p():
        with dsl.ParallelFor([True, False]) as twice:
            m = makes(texts=['p', 'q'], twice=twice)
            t = texts_of(d=m.output)
        check_list(got=dsl.Collected(t.output), want=[['p-p:p-p', 'q-q:q-q'], ['p:p', 'q:q']])
    return p, None


@case(word='wide-secret')
def a_machine_of_parameters_in_a_loop():
    """Claim, secret, config map, empty directory, field path, limits, time-out, selectors, tolerations and pull policy, each from data, for every item."""
    @dsl.component(base_image=IMAGE)
    def work(n: int) -> dict:
        import os
        open(f'/data/{n}', 'w').write(os.environ['FROM_SECRET'])
        open('/scratch/x', 'w').write('x')
        assert open('/map/a').read() == os.environ['FROM_MAP'] == 'v'
        return {'n': n, 'colour': os.environ['COLOUR'], 'files': os.path.isdir('/scratch')}

    @dsl.pipeline(name='machine')
    def p(word: str, selector: dict = {'kubernetes.io/os': 'linux'}):
        claim = kubernetes.CreatePVC(pvc_name_suffix='-mixed', access_modes=['ReadWriteMany'], size='8Mi', storage_class_name='standard')
        with dsl.ParallelFor([{'n': 1, 'key': 'one'}, {'n': 2, 'key': 'two'}]) as item:
            w = work(n=item.n).set_memory_limit('200Mi').set_cpu_request('20m').set_retry(num_retries=1)
            kubernetes.mount_pvc(w, pvc_name=claim.outputs['name'], mount_path='/data')
            kubernetes.use_secret_as_env(w, secret_name=word, secret_key_to_env={'k': 'FROM_SECRET'})
            kubernetes.use_config_map_as_env(w, config_map_name='wide-map', config_map_key_to_env={'a': 'FROM_MAP'})
            kubernetes.use_config_map_as_volume(w, config_map_name='wide-map', mount_path='/map')
            kubernetes.empty_dir_mount(w, volume_name='scratch', mount_path='/scratch')
            kubernetes.add_pod_label(w, 'colour', 'blue')
            kubernetes.use_field_path_as_env(w, env_name='COLOUR', field_path="metadata.labels['colour']")
            kubernetes.add_node_selector_json(w, selector)
            kubernetes.add_toleration_json(w, {'key': 'k', 'operator': 'Exists'})
            kubernetes.set_timeout(w, 120)
            kubernetes.set_image_pull_policy(w, 'IfNotPresent')
        check_list(got=dsl.Collected(w.output), want=[{'n': 1, 'colour': 'blue', 'files': True}, {'n': 2, 'colour': 'blue', 'files': True}])
        gone = kubernetes.DeletePVC(pvc_name=claim.outputs['name']).after(w)
        echo(text='end').after(gone)

    def look(t, r):
        made = [x for x in pods_of(t, r) if 'work' in x['metadata']['name']]
        assert len(made) == 2 and {x['spec']['activeDeadlineSeconds'] for x in made} == {120}
        assert {c['resources']['limits']['memory'] for x in made for c in x['spec']['containers']} == {'200Mi'}
    return p, look


@case(want='FAILED')
def a_time_out_in_a_loop_with_a_handler():
    """One of three is too slow: the others end, the handler hears of it, the loop's consumer is not started."""
    @dsl.container_component
    def nap(seconds: int):
        return dsl.ContainerSpec(image='alpine:3.20', command=['sh', '-c', 'sleep "$0"'], args=[seconds])

    @dsl.pipeline(name='slow')
    def p():
        told = status_is(want='FAILED', name='exit-handler-1')
        with dsl.ExitHandler(told, name='guard'):
            with dsl.ParallelFor([0, 60, 0], name='naps') as s:
                n = nap(seconds=s)
                kubernetes.set_timeout(n, 3)
            echo(text='after').after(n)

    def look(t, r):
        assert sorted(states(r, 'nap')) == ['FAILED', 'SUCCEEDED', 'SUCCEEDED'] and states(r, 'echo') == ['SKIPPED'], r.run_details
        assert states(r, 'status-is') == ['SUCCEEDED']
        assert 'DeadlineExceeded' in r.error.message or 'deadline' in r.error.message.lower(), r.error
    return p, look


@case(cache=True)
def the_cache_in_loops_of_pipelines():
    """Equal calls of a nested pipeline one after another: the second is taken from the cache, with its artifacts, and downstream sees no difference."""
    @dsl.pipeline(name='pair')
    def pair(word: str) -> NamedTuple('P', d=Dataset, s=str):
        w = write(text=word)
        return NamedTuple('P', d=Dataset, s=str)(w.outputs['d'], read(d=w.outputs['d']).output)

    @dsl.pipeline(name='again')
    def p():
        with dsl.ParallelFor(['cached-word', 'cached-word', 'other-word'], parallelism=1) as w:
            one = pair(word=w)
        check_list(got=dsl.Collected(one.outputs['s']), want=['cached-word:cached-word', 'cached-word:cached-word', 'other-word:other-word'])
        equal(got=read_all(ds=dsl.Collected(one.outputs['d'])).output, want='cached-word,cached-word,other-word')
    return p, lambda t, r: sorted(states(r, 'write')) == ['SKIPPED', 'SUCCEEDED', 'SUCCEEDED']


@case(n=4)
def branches_that_feed_loops_that_feed_branches():
    @dsl.component(base_image=IMAGE)
    def count(n: int) -> List[int]:
        return list(range(n))

    @dsl.component(base_image=IMAGE)
    def total(ns: List[int]) -> str:
        return str(sum(ns))

    @dsl.pipeline(name='chosen-list')
    def chosen(n: int) -> List[int]:
        with dsl.If(n > 3):
            a = count(n=n)
        with dsl.Elif(n > 1):
            b = count(n=1)
        with dsl.Else():
            c = count(n=0)
        return dsl.OneOf(a.output, b.output, c.output)

    @dsl.pipeline(name='each')
    def each(i: int) -> int:
        with dsl.If(i == 0):
            x = add(a=100, b=0)
        with dsl.Else():
            y = add(a=i, b=i)
        return add(a=dsl.OneOf(x.output, y.output), b=1).output

    @dsl.pipeline(name='fed')
    def p(n: int):
        with dsl.ParallelFor(chosen(n=n).output) as i:
            z = each(i=i)
        equal(got=total(ns=dsl.Collected(z.output)).output, want='116')
    return p, lambda t, r: states(r, 'count') == ['SUCCEEDED'] and states(r, 'add-2') == ['SKIPPED'] + ['SUCCEEDED'] * 3


@case()
def a_workspace_used_by_nested_loops():
    @dsl.component(base_image=IMAGE)
    def put(path: str, a: int, b: int) -> str:
        import os
        os.makedirs(f'{path}/{a}', exist_ok=True)
        open(f'{path}/{a}/{b}', 'w').write(str(a * b))
        return path

    @dsl.component(base_image=IMAGE)
    def gather(path: str) -> Dict[str, str]:
        import os
        return {f'{a}/{b}': open(f'{path}/{a}/{b}').read() for a in os.listdir(path) if a.isdigit() for b in os.listdir(f'{path}/{a}')}

    @dsl.pipeline(name='shared', pipeline_config=dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(
        size='16Mi', kubernetes=dsl.KubernetesWorkspaceConfig(pvcSpecPatch={'accessModes': ['ReadWriteMany']}))))
    def p():
        with dsl.ParallelFor([1, 2]) as a:
            with dsl.ParallelFor([3, 4]) as b:
                w = put(path=dsl.WORKSPACE_PATH_PLACEHOLDER, a=a, b=b)
        check(got=gather(path=dsl.WORKSPACE_PATH_PLACEHOLDER).after(w).output, want={'1/3': '3', '1/4': '4', '2/3': '6', '2/4': '8'})
    return p, None


@case(want='FAILED')
def what_goes_on_beside_what_fails():
    """Ignored failures with defaults, a skipped chain, a handler, a loop that loses one item: each part as it should be, in one run."""
    @dsl.component(base_image=IMAGE)
    def tidy(text: str = 'nothing', n: int = -1) -> str:
        return f'{text}{n}'

    @dsl.component(base_image=IMAGE)
    def picky(n: int) -> int:
        assert n != 2, 'no twos'
        return n

    @dsl.pipeline(name='beside')
    def p():
        b = breaks(message='first')
        a = echo(text='skipped').after(b)
        t = tidy(text=b.output, n=-1).ignore_upstream_failure()
        equal(got=t.output, want='nothing-1')
        tidy(text=a.output, n=3).ignore_upstream_failure().set_display_name('last')
        with dsl.ParallelFor([1, 2, 3], name='each item') as n:
            x = picky(n=n)
            add(a=x.output, b=1).set_display_name('next')
        with dsl.If(t.output == 'nothing-1'):
            with dsl.ParallelFor(rows().output) as row:
                with dsl.If(row.on == True):  # noqa: E712
                    echo(text='on').set_display_name('on')

    def look(t, r):
        assert states(r, 'echo') == ['SKIPPED'] and states(r, 'last') == ['SUCCEEDED'] and states(r, 'equal') == ['SUCCEEDED']
        assert sorted(states(r, 'picky')) == ['FAILED', 'SUCCEEDED', 'SUCCEEDED'] and sorted(states(r, 'next')) == ['SKIPPED', 'SUCCEEDED', 'SUCCEEDED']
        assert sorted(states(r, 'on')) == ['SKIPPED', 'SUCCEEDED', 'SUCCEEDED']
        assert 'first' in r.error.message or 'no twos' in r.error.message, r.error
    return p, look


@case()
def forty_tasks_with_names_and_orders():
    """Wide and deep at once: a diamond of nested pipelines, explicit orders across groups, names that repeat in every one."""
    @dsl.pipeline(name='diamond')
    def diamond(n: int) -> int:
        top = add(a=n, b=1)
        left, right = add(a=top.output, b=10), add(a=top.output, b=20)
        return add(a=left.output, b=right.output).output

    @dsl.pipeline(name='many')
    def p():
        first = [diamond(n=i) for i in range(4)]
        with dsl.ParallelFor([5, 6]) as n:
            d = diamond(n=n).after(*first)
            e = diamond(n=d.output)
        check_list(got=dsl.Collected(e.output), want=[2 * (2 * 6 + 30 + 1) + 30, 2 * (2 * 7 + 30 + 1) + 30])
    return p, lambda t, r: states(r, 'add') + states(r, 'add-2') + states(r, 'add-3') + states(r, 'add-4') == ['SUCCEEDED'] * 32


# ---- running them -----------------------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def runs():
    yield from runs_of(CASES, 'test_mixed')


@needs_node
@pytest.mark.parametrize('name', sorted(CASES))
def test_mixed(runs, name, request):
    runs.check(name, request)
