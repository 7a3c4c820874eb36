"""The real kfp client in all its methods, the kfp command, and the generated client below them, unmodified."""
import json
import os
import subprocess
import sys

import kfp.compiler
import kfp_server_api
import pytest
from conftest import Tidemill, needs_node, node_options
from kfp import client, dsl

USED = set()


class Noted(client.Client):
    """Knows which of its methods were called."""
    def __getattribute__(self, name):
        if not name.startswith('_') and callable(getattr(client.Client, name, None)):
            USED.add(name)
        return super().__getattribute__(name)


@dsl.container_component
def hello(text: str):
    return dsl.ContainerSpec(image='alpine:3.20', command=['echo', text])


@dsl.pipeline(name='hello')
def pipeline(text: str = 'hi'):
    hello(text=text).set_caching_options(False)


@pytest.fixture(scope='module')
def server():
    t = Tidemill(*node_options()).start()
    yield t
    t.purge()


@pytest.fixture(scope='module')
def file(tmp_path_factory):
    f = str(tmp_path_factory.mktemp('kfp') / 'hello.yaml')
    kfp.compiler.Compiler().compile(pipeline, f)
    return f


def gone(call, *args):
    with pytest.raises(kfp_server_api.ApiException) as e:
        call(*args)
    assert e.value.status == 404


@needs_node
def test_every_method(server, file):
    c = Noted(host=server.url)
    # Experiments.
    e = c.create_experiment('methods', description='d')
    assert c.create_experiment('methods').experiment_id == e.experiment_id
    assert c.get_experiment(experiment_name='methods').description == 'd'
    assert e.experiment_id in [x.experiment_id for x in c.list_experiments(page_size=100).experiments]
    c.archive_experiment(e.experiment_id)
    assert c.get_experiment(e.experiment_id).storage_state == 'ARCHIVED'
    c.unarchive_experiment(e.experiment_id)
    # Pipelines and versions.
    p = c.upload_pipeline(file, pipeline_name='from-file', description='d')
    q = c.upload_pipeline_from_pipeline_func(pipeline, pipeline_name='from-func')
    assert c.get_pipeline_id('from-file') == p.pipeline_id and c.get_pipeline_id('nobody') is None
    assert c.get_pipeline(q.pipeline_id).display_name == 'from-func'
    assert {p.pipeline_id, q.pipeline_id} <= {x.pipeline_id for x in c.list_pipelines(page_size=100).pipelines}
    v = c.upload_pipeline_version(file, 'v2', pipeline_id=p.pipeline_id)
    w = c.upload_pipeline_version_from_pipeline_func(pipeline, 'v3', pipeline_name='from-file')
    assert c.get_pipeline_version(p.pipeline_id, v.pipeline_version_id).display_name == 'v2'
    versions = c.list_pipeline_versions(p.pipeline_id, sort_by='created_at desc').pipeline_versions
    assert [x.display_name for x in versions] == ['v3', 'v2', 'from-file']
    # Runs.
    r1 = c.run_pipeline(e.experiment_id, 'r1', pipeline_package_path=file, params={'text': 'one'})
    r2 = c.run_pipeline(e.experiment_id, 'r2', pipeline_id=p.pipeline_id, version_id=w.pipeline_version_id)
    r3 = c.create_run_from_pipeline_func(pipeline, arguments={'text': 'three'}, experiment_name='methods')
    r4 = c.create_run_from_pipeline_package(file, experiment_name='methods')
    ids = [r.run_id for r in (r1, r2, r3, r4)]
    for i in ids:
        assert c.wait_for_run_completion(i, timeout=60, sleep_duration=1).state == 'SUCCEEDED'
    assert sorted(x.run_id for x in c.list_runs(experiment_id=e.experiment_id, page_size=50).runs) == sorted(ids)
    assert c.get_run(ids[0]).runtime_config.parameters == {'text': 'one'}
    c.terminate_run(ids[0])   # over already: no harm
    c.archive_run(ids[0])
    assert c.get_run(ids[0]).storage_state == 'ARCHIVED'
    c.unarchive_run(ids[0])
    c.delete_run(ids[0])
    gone(c.get_run, ids[0])
    # Recurring runs.
    j = c.create_recurring_run(e.experiment_id, 'j', cron_expression='0 0 3 1 1 *', pipeline_id=p.pipeline_id,
                               version_id=w.pipeline_version_id, enabled=False)
    k = c.create_recurring_run(e.experiment_id, 'k', interval_second=3600, pipeline_package_path=file, params={'text': 'x'},
                               start_time='2090-01-01T00:00:00Z', end_time='2091-01-01T00:00:00Z', no_catchup=True)
    assert c.get_recurring_run(j.recurring_run_id).trigger.cron_schedule.cron == '0 0 3 1 1 *'
    assert c.get_recurring_run(k.recurring_run_id).no_catchup is True
    assert {x.display_name for x in c.list_recurring_runs(experiment_id=e.experiment_id).recurring_runs} == {'j', 'k'}
    c.enable_recurring_run(j.recurring_run_id)
    assert c.get_recurring_run(j.recurring_run_id).status == 'ENABLED'
    c.disable_recurring_run(j.recurring_run_id)
    c.enable_job(j.recurring_run_id)
    c.disable_job(j.recurring_run_id)
    assert c.get_recurring_run(j.recurring_run_id).status == 'DISABLED'
    c.delete_recurring_run(j.recurring_run_id)
    c.delete_job(k.recurring_run_id)
    gone(c.get_recurring_run, k.recurring_run_id)
    # The rest.
    assert c.get_kfp_healthz().multi_user is False
    namespace = c.get_user_namespace()
    c.set_user_namespace('kubeflow')
    assert c.get_user_namespace() == 'kubeflow'
    c.set_user_namespace(namespace)
    c.delete_pipeline_version(p.pipeline_id, v.pipeline_version_id)
    gone(c.get_pipeline_version, p.pipeline_id, v.pipeline_version_id)
    with pytest.raises(kfp_server_api.ApiException, match='existing pipeline versions'):
        c.delete_pipeline(q.pipeline_id)
    only = c.list_pipeline_versions(q.pipeline_id).pipeline_versions[0].pipeline_version_id
    c.delete_pipeline_version(q.pipeline_id, only)
    c.delete_pipeline(q.pipeline_id)
    gone(c.get_pipeline, q.pipeline_id)
    c.delete_experiment(e.experiment_id)
    gone(c.get_experiment, e.experiment_id)
    every = {n for n in dir(client.Client) if not n.startswith('_') and callable(getattr(client.Client, n))}
    assert every - USED == set(), 'methods that no line above calls'


def command(t, *args, ok=True):
    r = subprocess.run([os.path.join(os.path.dirname(sys.executable), 'kfp'), '--endpoint', t.url, '--output', 'json', *args],
                       capture_output=True, text=True, timeout=120)
    assert (r.returncode == 0) == ok, (args, r.stdout, r.stderr)
    begin = min((i for i in (r.stdout.find('{'), r.stdout.find('[')) if i >= 0), default=-1)
    return json.JSONDecoder().raw_decode(r.stdout[begin:])[0] if begin >= 0 else r.stdout


@needs_node
def test_the_command(server, file):
    e = command(server, 'experiment', 'create', 'cli', '-d', 'd')
    assert e['display_name'] == 'cli'
    assert 'cli' in [x['display_name'] for x in command(server, 'experiment', 'list')]
    assert command(server, 'experiment', 'get', e['experiment_id'])['description'] == 'd'
    p = command(server, 'pipeline', 'create', '-p', 'cli-pipeline', file)
    pid = p['pipeline_id']
    v = command(server, 'pipeline', 'create-version', '-p', pid, '-v', 'two', file)
    assert v['display_name'] == 'two'
    assert len(command(server, 'pipeline', 'list-versions', pid)) == 2
    assert command(server, 'pipeline', 'get', pid)['display_name'] == 'cli-pipeline'
    r = command(server, 'run', 'create', '-e', 'cli', '-r', 'run', '-f', file, '-w')
    assert command(server, 'run', 'get', r['run_id'])['state'] == 'SUCCEEDED'
    assert [x['display_name'] for x in command(server, 'run', 'list', '-e', e['experiment_id'])] == ['run']
    command(server, 'run', 'archive', r['run_id'])
    command(server, 'run', 'unarchive', r['run_id'])
    j = command(server, 'recurring-run', 'create', '--experiment-name', 'cli', '--job-name', 'job', '--cron-expression', '0 0 3 * * *',
                '--pipeline-id', pid, '--version-id', v['pipeline_version_id'])
    i = j['recurring_run_id']
    assert command(server, 'recurring-run', 'get', i)['trigger']['cron_schedule']['cron'] == '0 0 3 * * *'
    command(server, 'recurring-run', 'disable', i)
    assert command(server, 'recurring-run', 'get', i)['status'] == 'DISABLED'
    command(server, 'recurring-run', 'enable', i)
    assert [x['display_name'] for x in command(server, 'recurring-run', 'list')] == ['job']
    server_delete(server, i)
    command(server, 'run', 'get', 'nothing', ok=False)


def server_delete(t, recurring_id):
    """The command asks before it deletes."""
    r = subprocess.run([os.path.join(os.path.dirname(sys.executable), 'kfp'), '--endpoint', t.url, 'recurring-run', 'delete', recurring_id],
                       capture_output=True, text=True, timeout=60, input='y\n')
    assert r.returncode == 0, r.stderr


@needs_node
def test_the_generated_client(server, file):
    """What the SDK has no method for: retry, versions by pages, filters, patches."""
    api = kfp_server_api.ApiClient(kfp_server_api.Configuration(host=server.url))
    experiments = kfp_server_api.ExperimentServiceApi(api)
    runs = kfp_server_api.RunServiceApi(api)
    pipelines = kfp_server_api.PipelineServiceApi(api)
    recurring = kfp_server_api.RecurringRunServiceApi(api)
    for n in range(3):
        experiments.experiment_service_create_experiment(kfp_server_api.V2beta1Experiment(display_name=f'gen-{n}'))
    flt = json.dumps({'predicates': [{'key': 'name', 'operation': 'IS_SUBSTRING', 'stringValue': 'gen-'}]})
    seen, token = [], ''
    while True:
        page = experiments.experiment_service_list_experiments(page_size=2, page_token=token, sort_by='name desc', filter=flt)
        seen += [x.display_name for x in page.experiments]
        token = page.next_page_token
        if not token:
            break
    assert seen == ['gen-2', 'gen-1', 'gen-0']
    with pytest.raises(kfp_server_api.ApiException) as e:
        runs.run_service_retry_run('00000000-0000-4000-8000-000000000000')
    assert e.value.status == 404 and json.loads(e.value.body)['code'] == 5
    p = pipelines.pipeline_service_create_pipeline(kfp_server_api.V2beta1Pipeline(display_name='gen', name='gen'))
    assert pipelines.pipeline_service_get_pipeline_by_name('gen').pipeline_id == p.pipeline_id
    assert recurring.recurring_run_service_list_recurring_runs().recurring_runs is None
    assert kfp_server_api.HealthzServiceApi(api).healthz_service_get_healthz().multi_user is False
