"""Whatever a store says, there is a tree in the end, or an error."""

import asyncio
import hashlib
import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.errors import BuilderError
from builder.release import collect, layout, move, verify
from builder.release.listing import listing
from builder.release.store import ReleaseStore
from builder.release.trust import Trust
from tests.release.hostile.forged import NOW, published, pulled, put
from tests.release.trees import repository

JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8),
    st.sampled_from(["..", "../x", "/x", "a/../../b", "\0", "-" * 300, "sha256:" + "0" * 64]),
    st.just([]), st.just({}), st.lists(st.text(max_size=3), max_size=2),
)  # fmt: skip


def places(value, path=()):
    yield path
    if not isinstance(value, dict | list):
        return
    for key, one in value.items() if isinstance(value, dict) else enumerate(value):
        yield from places(one, (*path, key))


def changed(value, path, junk, *, rename):
    if not path:
        return junk
    copy = dict(value) if isinstance(value, dict) else list(value)
    if len(path) > 1:
        copy[path[0]] = changed(value[path[0]], path[1:], junk, rename=rename)
    elif rename and isinstance(copy, dict) and isinstance(junk, str):
        copy[junk] = copy.pop(path[0])
    else:
        copy[path[0]] = junk
    return copy


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_whatever_a_store_says_ends_in_a_tree_or_an_error(tmp_path, data):
    store = ReleaseStore("memory:///")
    folder, pod, cache = (tmp_path / name for name in ("built", "pod", "cache"))
    if not folder.exists():
        models = {n: {"1": {"m.onnx": n.encode()}} for n in ("tok", "net")}
        repository(folder, {**models, "both": {"1": {"e": b"-"}}}, members={"both": ["tok", "net"]})
        (tmp_path / "sentinel").write_text("x")
    release = published(store, folder)
    asyncio.run(move.promote(store, "prod", release))
    kinds = [layout.manifest(release), layout.channel("prod"), layout.claim("cpu", "tok", "1")]
    kind = data.draw(st.sampled_from(kinds))
    value = json.loads(asyncio.run(store.bucket.get(kind, 1 << 20)))
    path = data.draw(st.sampled_from(list(places(value))))
    lie = changed(value, path, data.draw(JUNK), rename=data.draw(st.booleans()))
    content = json.dumps(lie).encode()
    if kind == kinds[0]:  # and the channel with it, or else its name tells
        lied = f"sha256:{hashlib.sha256(content).hexdigest()}"
        told = asyncio.run(store.bucket.get(kinds[1], 1 << 20)).replace(
            release.encode(), lied.encode()
        )
        put(store, kinds[1], told)
        kind = layout.manifest(lied)
    put(store, kind, content)
    told = []
    for attempt in (
        lambda: pulled(store, "prod", pod, cache=cache),
        lambda: published(store, folder),
        lambda: asyncio.run(move.rollback(store, "prod", None)),
        lambda: asyncio.run(listing(store)),
        lambda: asyncio.run(collect.collect(store, NOW, grace=NOW)),
    ):
        try:
            attempt()
        except BuilderError as e:
            told.append(e)
    assert all(error.where or error.found for error in told)
    if pod.exists():
        verify.in_folder(pod, Trust())
    ours = {"built", "pod", "cache", "sentinel", ".pod.pull", ".pod.lock"}
    assert {p.name for p in tmp_path.iterdir()} <= ours
