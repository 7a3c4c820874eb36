"""The real Python client of Kubernetes (what kfp, katib and kserve stand on) against the Kubernetes API of `tidemill up`."""
import json
import threading
import time
import uuid

import pytest
from conftest import needs_node

kubernetes = pytest.importorskip('kubernetes')
from kubernetes import client, config, dynamic, watch  # noqa: E402
from kubernetes.client.exceptions import ApiException  # noqa: E402


@pytest.fixture(scope='module')
def api(tidemill):
    return config.new_client_from_config(tidemill.kubeconfig)


@pytest.fixture
def core(api):
    return client.CoreV1Api(api)


@pytest.fixture
def ns(core):
    name = 'p-' + uuid.uuid4().hex[:8]
    core.create_namespace({'metadata': {'name': name}})
    until(lambda: [a for a in core.list_namespaced_service_account(name).items if a.metadata.name == 'default'])
    # What a controller makes in each namespace must not come in the middle of a test.
    until(lambda: [m for m in core.list_namespaced_config_map(name).items if m.metadata.name == 'kube-root-ca.crt'])
    yield name
    core.delete_namespace(name)


def until(f, seconds=120):
    end = time.monotonic() + seconds
    while True:
        got = f()
        if got:
            return got
        assert time.monotonic() < end, 'waited too long'
        time.sleep(0.02)


def config_map(name, labels=None, **data):
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels=labels), data=data)


def pod(script, name=None, **meta):
    return {'metadata': {'name': name, **meta} if name else meta,
            'spec': {'restartPolicy': 'Never', 'containers': [{'name': 'main', 'image': 'busybox', 'command': ['sh', '-c', script]}]}}


def refused(code, reason, f, *args, **kw):
    with pytest.raises(ApiException) as e:
        f(*args, **kw)
    status = json.loads(e.value.body)
    assert (e.value.status, status['code'], status.get('reason')) == (code, code, reason), status
    assert status['kind'] == 'Status' and status['status'] == 'Failure'
    return status


def test_version(api):
    v = client.VersionApi(api).get_code()  # asks /version/ with the slash
    assert (v.major, v.minor) == ('1', '34')


def test_crud(core, ns):
    made = core.create_namespaced_config_map(ns, config_map('a', k='1'))
    assert made.metadata.uid and made.metadata.resource_version and made.metadata.creation_timestamp.tzinfo
    assert core.read_namespaced_config_map('a', ns).data == {'k': '1'}
    made.data = {'k': '2'}
    replaced = core.replace_namespaced_config_map('a', ns, made)
    assert replaced.data == {'k': '2'} and replaced.metadata.resource_version != made.metadata.resource_version
    assert {c.metadata.name for c in core.list_namespaced_config_map(ns).items} >= {'a'}
    assert 'a' in {c.metadata.name for c in core.list_config_map_for_all_namespaces().items}
    gone = core.delete_namespaced_config_map('a', ns)
    assert gone.status == 'Success' and gone.details.name == 'a'
    refused(404, 'NotFound', core.read_namespaced_config_map, 'a', ns)


def test_booleans_as_python_writes_them(core, ns):
    """pretty=True, watch=False: everything but 0 and false is true."""
    core.create_namespaced_config_map(ns, config_map('dry'), dry_run='All', pretty='True')
    refused(404, 'NotFound', core.read_namespaced_config_map, 'dry', ns)
    assert core.list_namespaced_config_map(ns, watch=False).kind == 'ConfigMapList'


def test_errors(core, ns):
    core.create_namespaced_config_map(ns, config_map('a'))
    taken = refused(409, 'AlreadyExists', core.create_namespaced_config_map, ns, config_map('a'))
    assert taken['message'] == 'configmaps "a" already exists' and taken['details'] == {'name': 'a', 'kind': 'configmaps'}
    old = core.read_namespaced_config_map('a', ns)
    core.patch_namespaced_config_map('a', ns, {'data': {'x': 'y'}})
    assert 'the object has been modified' in refused(409, 'Conflict', core.replace_namespaced_config_map, 'a', ns, old)['message']
    bad = refused(422, 'Invalid', core.create_namespaced_config_map, ns, config_map('Bad_Name'))
    assert bad['details']['causes'][0]['field'] == 'metadata.name'
    assert 'not found' in refused(404, 'NotFound', core.create_namespaced_config_map, 'nowhere-at-all', config_map('a'))['message']
    refused(400, 'BadRequest', core.create_namespaced_config_map, ns, {'data': {'a': 5}})
    refused(400, 'BadRequest', core.list_namespaced_config_map, ns, label_selector='a in (')
    strict = refused(400, 'BadRequest', core.create_namespaced_config_map, ns, {'metadata': {'name': 'b'}, 'datum': 1}, field_validation='Strict')
    assert 'unknown field "datum"' in strict['message']


def test_patches(core, ns):
    """A dict is a strategic merge patch for built-in kinds, a list a JSON patch."""
    core.create_namespaced_pod(ns, {'metadata': {'name': 'p'}, 'spec': {'schedulerName': 'nobody', 'containers': [
        {'name': 'a', 'image': 'x:1'}, {'name': 'b', 'image': 'y:1'}]}})
    p = core.patch_namespaced_pod('p', ns, {'spec': {'containers': [{'name': 'b', 'image': 'y:2'}]}})
    assert [(c.name, c.image) for c in p.spec.containers] == [('a', 'x:1'), ('b', 'y:2')]
    p = core.patch_namespaced_pod('p', ns, [{'op': 'replace', 'path': '/spec/containers/0/image', 'value': 'x:2'},
                                           {'op': 'add', 'path': '/metadata/labels', 'value': {'l': '1'}}])
    assert [c.image for c in p.spec.containers] == ['x:2', 'y:2'] and p.metadata.labels == {'l': '1'}
    p = core.patch_namespaced_pod('p', ns, {'metadata': {'labels': {'l': None, 'm': '2'}}})
    assert p.metadata.labels == {'m': '2'}
    same = core.patch_namespaced_pod('p', ns, {'metadata': {'labels': {'m': '2'}}})
    assert same.metadata.resource_version == p.metadata.resource_version
    refused(422, 'Invalid', core.patch_namespaced_pod, 'p', ns, [{'op': 'test', 'path': '/metadata/name', 'value': 'q'}])
    assert 'Forbidden' in refused(422, 'Invalid', core.patch_namespaced_pod, 'p', ns, {'spec': {'restartPolicy': 'Never'}})['message']
    core.patch_namespaced_pod_status('p', ns, {'status': {'conditions': [{'type': 'Mine', 'status': 'True'}]}})
    assert 'Mine' in {c.type for c in core.read_namespaced_pod('p', ns).status.conditions}
    core.delete_namespaced_pod('p', ns, grace_period_seconds=0)


def test_generate_name(core, ns):
    names = {core.create_namespaced_config_map(ns, {'metadata': {'generateName': 'run-'}}).metadata.name for _ in range(20)}
    assert len(names) == 20 and all(n.startswith('run-') and len(n) == 9 for n in names)


def test_selectors_and_pages(core, ns):
    for i in range(7):
        core.create_namespaced_config_map(ns, config_map(f'c{i}', labels={'i': str(i), 'set': 'x'}))
    got = []
    page = core.list_namespaced_config_map(ns, label_selector='set=x', limit=3)
    while True:
        got += [c.metadata.name for c in page.items]
        if not page.metadata._continue:
            break
        page = core.list_namespaced_config_map(ns, label_selector='set=x', limit=3, _continue=page.metadata._continue)
    assert got == [f'c{i}' for i in range(7)]
    assert [c.metadata.name for c in core.list_namespaced_config_map(ns, label_selector='i in (2,3)').items] == ['c2', 'c3']
    assert [c.metadata.name for c in core.list_namespaced_config_map(ns, field_selector='metadata.name=c4').items] == ['c4']
    core.delete_collection_namespaced_config_map(ns, label_selector='set=x')
    assert not core.list_namespaced_config_map(ns, label_selector='set=x').items


def test_watch(core, ns):
    start = core.list_namespaced_config_map(ns).metadata.resource_version
    core.create_namespaced_config_map(ns, config_map('w', k='1'))
    core.patch_namespaced_config_map('w', ns, {'data': {'k': '2'}})
    core.delete_namespaced_config_map('w', ns)
    w, seen = watch.Watch(), []
    for e in w.stream(core.list_namespaced_config_map, ns, resource_version=start, timeout_seconds=120):
        seen.append((e['type'], e['object'].metadata.name, (e['object'].data or {}).get('k')))
        if e['type'] == 'DELETED':
            w.stop()
    assert seen == [('ADDED', 'w', '1'), ('MODIFIED', 'w', '2'), ('DELETED', 'w', '2')]


def test_watch_ends_by_its_time(core, ns):
    began = time.monotonic()
    names = [e['object'].metadata.name for e in watch.Watch().stream(core.list_namespaced_config_map, ns, timeout_seconds=1)]
    assert names == ['kube-root-ca.crt'] and 0.8 < time.monotonic() - began < 60


def test_watch_from_the_future_or_the_past(core, ns):
    refused(500, None, core.list_namespaced_config_map, ns, watch=True, resource_version='x', timeout_seconds=1, _preload_content=True)


def test_dynamic_client(api, ns, tmp_path):
    dyn = dynamic.DynamicClient(api, cache_file=str(tmp_path / 'discovery.json'))
    maps = dyn.resources.get(api_version='v1', kind='ConfigMap')
    maps.create(namespace=ns, body={'metadata': {'name': 'd'}, 'data': {'a': '1'}})
    assert maps.get(name='d', namespace=ns).data.a == '1'
    maps.patch(name='d', namespace=ns, body={'data': {'b': '2'}}, content_type='application/merge-patch+json')
    assert maps.get(name='d', namespace=ns).to_dict()['data'] == {'a': '1', 'b': '2'}
    for e in maps.watch(namespace=ns, name='d', timeout=120):
        assert e['type'] == 'ADDED' and e['object'].metadata.name == 'd'
        break
    maps.delete(name='d', namespace=ns)
    with pytest.raises(dynamic.exceptions.NotFoundError):
        maps.get(name='d', namespace=ns)


def test_custom_objects(api, ns, tmp_path):
    """A dict is a merge patch for custom kinds."""
    group = uuid.uuid4().hex[:6] + '.example.org'
    ext, objects = client.ApiextensionsV1Api(api), client.CustomObjectsApi(api)
    schema = {'type': 'object', 'properties': {'spec': {'type': 'object', 'required': ['n'], 'properties': {
        'n': {'type': 'integer', 'maximum': 9}, 'list': {'type': 'array', 'items': {'type': 'string'}}}}, 'status': {
            'type': 'object', 'x-kubernetes-preserve-unknown-fields': True}}}
    ext.create_custom_resource_definition({'metadata': {'name': f'toys.{group}'}, 'spec': {
        'group': group, 'scope': 'Namespaced', 'names': {'plural': 'toys', 'kind': 'Toy'},
        'versions': [{'name': 'v1', 'served': True, 'storage': True, 'schema': {'openAPIV3Schema': schema}, 'subresources': {'status': {}}}]}})
    until(lambda: any(c.type == 'Established' and c.status == 'True'
                      for c in ext.read_custom_resource_definition(f'toys.{group}').status.conditions or []))
    where = (group, 'v1', ns, 'toys')
    toy = objects.create_namespaced_custom_object(*where, {'apiVersion': f'{group}/v1', 'kind': 'Toy', 'metadata': {'name': 't'},
                                                           'spec': {'n': 1, 'list': ['a', 'b']}})
    assert toy['metadata']['generation'] == 1
    toy = objects.patch_namespaced_custom_object(*where, 't', {'spec': {'list': ['c']}})
    assert toy['spec'] == {'n': 1, 'list': ['c']} and toy['metadata']['generation'] == 2
    toy = objects.patch_namespaced_custom_object_status(*where, 't', {'status': {'free': {'form': True}}})
    assert toy['status'] == {'free': {'form': True}} and toy['metadata']['generation'] == 2
    refused(422, 'Invalid', objects.patch_namespaced_custom_object, *where, 't', {'spec': {'n': 10}})
    bad = refused(422, 'Invalid', objects.create_namespaced_custom_object, *where,
                  {'apiVersion': f'{group}/v1', 'kind': 'Toy', 'metadata': {'name': 'u'}, 'spec': {}})
    assert bad['details']['causes'][0] == {'reason': 'FieldValueRequired', 'message': 'Required value', 'field': 'spec.n'}
    dyn = dynamic.DynamicClient(api, cache_file=str(tmp_path / 'discovery.json'))
    dyn.resources.invalidate_cache()
    toys = dyn.resources.get(api_version=f'{group}/v1', kind='Toy')
    assert [t.metadata.name for t in toys.get(namespace=ns).items] == ['t']
    assert [t['metadata']['name'] for t in objects.list_cluster_custom_object(group, 'v1', 'toys')['items']] == ['t']
    objects.delete_namespaced_custom_object(*where, 't')
    ext.delete_custom_resource_definition(f'toys.{group}')
    until(lambda: group not in {g.name for g in client.ApisApi(api).get_api_versions().groups})


def test_secrets_and_accounts(core, api, ns, tidemill):
    s = core.create_namespaced_secret(ns, client.V1Secret(metadata=client.V1ObjectMeta(name='s'), string_data={'a': 'b'}))
    assert s.data == {'a': 'Yg=='} and s.type == 'Opaque' and s.string_data is None
    core.create_namespaced_service_account(ns, {'metadata': {'name': 'robot'}})
    token = core.create_namespaced_service_account_token('robot', ns, {'spec': {'expirationSeconds': 600, 'audiences': None}}).status.token
    review = client.AuthenticationV1Api(api).create_token_review({'spec': {'token': token}}).status
    assert review.authenticated and review.user.username == f'system:serviceaccount:{ns}:robot'
    mine = client.Configuration()
    mine.host, mine.api_key, mine.verify_ssl = tidemill.kubernetes, {'authorization': 'Bearer ' + token}, False
    import urllib3
    urllib3.disable_warnings()
    robot = client.CoreV1Api(client.ApiClient(mine))
    assert 'cannot list resource "pods"' in refused(403, 'Forbidden', robot.list_namespaced_pod, ns)['message']
    rbac = client.RbacAuthorizationV1Api(api)
    rbac.create_namespaced_role(ns, {'metadata': {'name': 'r'}, 'rules': [{'apiGroups': [''], 'resources': ['pods'], 'verbs': ['list']}]})
    rbac.create_namespaced_role_binding(ns, {'metadata': {'name': 'r'}, 'roleRef': {'apiGroup': 'rbac.authorization.k8s.io', 'kind': 'Role', 'name': 'r'},
                                             'subjects': [{'kind': 'ServiceAccount', 'name': 'robot', 'namespace': ns}]})
    until(lambda: allowed(robot, ns))
    mine.api_key = {'authorization': 'Bearer ' + token[:-2] + 'xx'}
    refused(401, 'Unauthorized', client.CoreV1Api(client.ApiClient(mine)).list_namespaced_pod, ns)


def allowed(core, ns):
    try:
        core.list_namespaced_pod(ns)
        return True
    except ApiException as e:
        assert e.status == 403
        return False


def test_owner_goes_child_goes(core, ns):
    owner = core.create_namespaced_config_map(ns, config_map('owner'))
    core.create_namespaced_config_map(ns, {'metadata': {'name': 'child', 'ownerReferences': [
        {'apiVersion': 'v1', 'kind': 'ConfigMap', 'name': 'owner', 'uid': owner.metadata.uid}]}})
    core.delete_namespaced_config_map('owner', ns, body=client.V1DeleteOptions(propagation_policy='Background'))
    until(lambda: 'child' not in {c.metadata.name for c in core.list_namespaced_config_map(ns).items})


def test_delete_preconditions(core, ns):
    made = core.create_namespaced_config_map(ns, config_map('a'))
    other = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid=str(uuid.uuid4())))
    assert 'the UID in the precondition' in refused(409, 'Conflict', core.delete_namespaced_config_map, 'a', ns, body=other)['message']
    core.delete_namespaced_config_map('a', ns, body=client.V1DeleteOptions(preconditions=client.V1Preconditions(uid=made.metadata.uid)))


@needs_node
def test_pod_and_its_logs(core, ns):
    """As kfp and katib use it: create, watch until the end, read and follow logs."""
    start = core.list_namespaced_pod(ns).metadata.resource_version
    core.create_namespaced_pod(ns, pod('for i in 1 2 3; do echo line $i; sleep 0.2; done; exit 4', 'p'))
    phases, w = [], watch.Watch()
    for e in w.stream(core.list_namespaced_pod, ns, field_selector='metadata.name=p', resource_version=start, timeout_seconds=120):
        phases.append(e['object'].status.phase)
        if phases[-1] in ('Succeeded', 'Failed'):
            w.stop()
    assert list(dict.fromkeys(phases)) == ['Pending', 'Running', 'Failed']
    assert core.read_namespaced_pod('p', ns).status.container_statuses[0].state.terminated.exit_code == 4
    assert core.read_namespaced_pod_log('p', ns) == 'line 1\nline 2\nline 3\n'
    assert core.read_namespaced_pod_log('p', ns, tail_lines=1) == 'line 3\n'
    assert core.read_namespaced_pod_log('p', ns, timestamps=True, limit_bytes=20).startswith('20')
    refused(400, 'BadRequest', core.read_namespaced_pod_log, 'p', ns, container='none')
    core.delete_namespaced_pod('p', ns)


@needs_node
def test_log_follow(core, ns):
    core.create_namespaced_pod(ns, pod('for i in 1 2 3 4; do echo line $i; sleep 0.2; done', 'p'))
    until(lambda: core.read_namespaced_pod('p', ns).status.phase != 'Pending')
    lines = list(watch.Watch().stream(core.read_namespaced_pod_log, 'p', ns, follow=True))
    assert lines == ['line 1', 'line 2', 'line 3', 'line 4']
    streamed = core.read_namespaced_pod_log('p', ns, follow=True, _preload_content=False)
    assert streamed.read() == b'line 1\nline 2\nline 3\nline 4\n'
    core.delete_namespaced_pod('p', ns)


@needs_node
def test_deleted_while_watched(core, ns):
    """Whoever watches sees the deletion marked, then done."""
    core.create_namespaced_pod(ns, {**pod('sleep 100', 'p'), 'spec': {**pod('sleep 100')['spec'], 'terminationGracePeriodSeconds': 1}})
    until(lambda: core.read_namespaced_pod('p', ns).status.phase == 'Running')
    start = core.list_namespaced_pod(ns).metadata.resource_version
    threading.Timer(0.2, lambda: core.delete_namespaced_pod('p', ns)).start()
    marked, w = False, watch.Watch()
    for e in w.stream(core.list_namespaced_pod, ns, resource_version=start, timeout_seconds=120):
        if e['type'] == 'DELETED':
            break
        marked = marked or bool(e['object'].metadata.deletion_timestamp)
    else:
        pytest.fail('never deleted')
    assert marked
