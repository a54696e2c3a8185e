"""Publishers, movers and collections at the same time: one wins, the others are told."""

import asyncio
import itertools
import random
from datetime import timedelta

import pytest

from builder.errors import BuilderError, InputError, SeveralError, WorkFailedError
from builder.release import collect, layout, move, publish, verify
from builder.release.store import ReleaseStore
from builder.release.trust import Trust
from tests.release.commands import ended, right, start
from tests.release.trees import files, repository

pytest_plugins = ["tests.stores.ceph", "tests.stores.azurite"]
pytestmark = [pytest.mark.live, pytest.mark.slow]

NOW = timedelta(0)


@pytest.fixture(params=["ceph", "azurite", "folder"])
def url(request, tmp_path, monkeypatch):
    if request.param == "folder":
        return (tmp_path / "store").as_uri()
    server = request.getfixturevalue({"ceph": "s3", "azurite": "azure"}[request.param])
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return f"{ {'ceph': 's3', 'azurite': 'az'}[request.param] }://{server.bucket()}/r"


def stores(url, count):
    """As many who know nothing of each other."""
    return [ReleaseStore(url, create=True) for _ in range(count)]


def built(folder, **versions):
    """A repository of models with one version each: `a="1 x"` is version 1 of a, with bytes x."""
    parts = {model: spec.split() for model, spec in versions.items()}
    repository(folder, {m: {v: {"f": content.encode()}} for m, (v, content) in parts.items()})
    return folder


def at_once(*jobs):
    """What each gave, or raised; other errors than ours end the test."""

    async def run():
        return await asyncio.gather(*jobs, return_exceptions=True)

    found = asyncio.run(run())
    for one in found:
        if isinstance(one, BaseException) and not isinstance(one, BuilderError):
            raise one
    return found


def publishing(store, folder):
    return publish.publish(folder, store, publish.Options())


def published(store, folder):
    return asyncio.run(publishing(store, folder)).release


def failed(found):
    return [one for one in found if isinstance(one, BuilderError)]


def conflicting(url, folder, turns):
    """Two publishers of the same versions with other bytes."""
    for turn in range(turns):
        names = "abcdefgh"
        one = built(folder / f"{turn}-one", **dict.fromkeys(names, f"{turn + 1} one"))
        other = built(folder / f"{turn}-other", **dict.fromkeys(names[::-1], f"{turn + 1} other"))
        left, right = stores(url, 2)
        found = at_once(publishing(left, one), publishing(right, other))
        (loser,) = failed(found)
        assert isinstance(loser, WorkFailedError | SeveralError)
        assert "was published before, with other bytes" in str(loser)
        (winner,) = [done for done in found if not isinstance(done, BuilderError)]
        store = ReleaseStore(url)
        asyncio.run(verify.in_store(store, winner.release, Trust()))
        losers = {publish.proven(folder).name for folder in (one, other)} - {winner.release}
        assert not asyncio.run(store.has(losers.pop()))


def overlapping(url, folder, turns):
    """Three publishers, each of which shares a version with each of the others."""
    for turn in range(turns):
        number = turn + 1
        repositories = [
            built(folder / f"{turn}-one", ab=f"{number} one", ac=f"{number} one"),
            built(folder / f"{turn}-two", ab=f"{number} two", bc=f"{number} two"),
            built(folder / f"{turn}-three", ac=f"{number} three", bc=f"{number} three"),
        ]
        found = at_once(*map(publishing, stores(url, 3), repositories))
        assert len(failed(found)) in {1, 2}
        for done in found:
            if not isinstance(done, BuilderError):
                asyncio.run(verify.in_store(ReleaseStore(url), done.release, Trust()))


def the_same(url, folder, turns):
    """Four publishers of one repository, and all have it then."""
    for turn in range(turns):
        one = built(folder / f"{turn}", a=f"{turn + 1} one", b=f"{turn + 1} one")
        found = at_once(*(publishing(store, one) for store in stores(url, 4)))
        assert failed(found) == []
        assert len({done.release for done in found}) == 1
        asyncio.run(verify.in_store(ReleaseStore(url), found[0].release, Trust()))


def movers(url, folder, turns):
    """Two movers of one channel: the history holds every move of those that were not refused."""
    store = ReleaseStore(url, create=True)
    names = [
        published(store, built(folder / f"r{n}", a=f"{n} {n}", b=f"{n} {n}")) for n in (1, 2, 3)
    ]
    expected = []
    for turn, (one, other) in enumerate(itertools.islice(itertools.cycle(PAIRS), turns)):
        channel = "prod" if turn % 10 else f"prod{turn}"  # some are new
        before = asyncio.run(store.find_channel(channel))
        history = before[0].history if before else ()
        left, right = stores(url, 2)
        found = at_once(
            move.promote(left, channel, names[one]), move.promote(right, channel, names[other])
        )
        done = [f for f in found if not isinstance(f, BuilderError) and f.changed]
        for loser in failed(found):
            assert "somebody else moved" in str(loser)
        now, _ = asyncio.run(store.channel(channel))
        new = [m.release for m in now.history[len(history) :]]
        assert now.history[: len(history)] == history
        assert len(new) == len(done)
        assert sorted(new) == sorted(f.channel.release for f in done)
        assert now.release in {names[one], names[other]}
        expected.append(len(done))
    assert sum(expected) >= turns - 1  # one of two may find the channel where it wants it


PAIRS = [(0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)]


def back_and_forth(url, folder, turns):
    """A promotion and a rollback at once."""
    store = ReleaseStore(url, create=True)
    one, two, three = (published(store, built(folder / f"r{n}", a=f"{n} {n}")) for n in (1, 2, 3))
    for turn in range(turns):
        channel = f"c{turn}"
        asyncio.run(move.promote(store, channel, one))
        asyncio.run(move.promote(store, channel, two))
        left, right = stores(url, 2)
        found = at_once(move.rollback(left, channel, None), move.promote(right, channel, three))
        now, _ = asyncio.run(store.channel(channel))
        new = [m.release for m in now.history[2:]]
        assert new in ([one], [three], [one, three], [three, two])
        assert len(new) == 2 - len(failed(found))


def collections(url, folder, turns):
    """A collection that drops all it may, while others publish, promote and pull."""
    store = ReleaseStore(url, create=True)
    dice = random.Random(turns)  # noqa: S311 - of delays
    repositories = [built(folder / f"r{n}", a=f"{n} {n}", s="1 shared") for n in (1, 2, 3)]
    for turn in range(turns):
        folder_ = repositories[turn % 3]
        names = [publish.proven(one).name for one in repositories]
        left, right, third = stores(url, 3)

        async def later(job, dice=dice):
            await asyncio.sleep(dice.uniform(0, 0.05))
            return await job

        async def publish_and_promote(folder_=folder_, left=left, turn=turn):
            done = await publishing(left, folder_)
            if turn % 2:
                await move.promote(left, "prod", done.release)
            return done

        found = at_once(
            publish_and_promote(),
            later(collect.collect(right, NOW, grace=NOW)),
            move.promote(third, "other", names[(turn + 1) % 3]),
        )
        for error in failed(found):
            assert isinstance(error, InputError | WorkFailedError)
            assert "no such release" in str(error) or "dropped by gc" in str(error), error
        # whatever is called a release is one, and what channels are at is there
        for row in asyncio.run(store.names()):
            asyncio.run(verify.in_store(store, layout.release_of(row.path), Trust()))
        for channel in asyncio.run(store.all_channels()):
            assert asyncio.run(store.has(channel.release))


RACES = [conflicting, overlapping, the_same, movers, back_and_forth, collections]


@pytest.mark.parametrize("race", RACES)
def test_a_few_races(url, tmp_path, race, monkeypatch):
    monkeypatch.setattr("builder.release.store.TICK", 0.02)
    race(url, tmp_path / "built", 4)


@pytest.mark.campaign
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("race", RACES)
def test_a_hundred_races(url, tmp_path, race, monkeypatch):
    monkeypatch.setattr("builder.release.store.TICK", 0.02)
    race(url, tmp_path / "built", 100)


def test_two_commands_pull_into_one_folder(url, tmp_path):
    one = built(tmp_path / "one", a="1 x")
    release = published(ReleaseStore(url, create=True), one)
    pulls = [start("pull", release, tmp_path / "pod", "--store", url) for _ in range(4)]
    assert [ended(pull).code for pull in pulls] == [0] * 4
    assert files(tmp_path / "pod") == files(one)


def test_pods_with_one_cache_pull_at_once(url, tmp_path):
    one = tmp_path / "one"
    large = random.Random(0).randbytes(20 << 20)  # noqa: S311 - of bytes
    repository(one, {"a": {"1": {"weights": large, "f": b"1", "g": b"2"}}})
    release = published(ReleaseStore(url, create=True), one)
    cache = tmp_path / "cache"
    pods = [tmp_path / f"pod{n}" for n in range(4)]
    pulls = [start("pull", release, pod, "--cache", cache, "--store", url) for pod in pods]
    assert [ended(pull).code for pull in pulls] == [0] * 4
    assert all(files(pod) == files(one) for pod in pods)
    right("pull", release, tmp_path / "pod", "--cache", cache, "--store", url)
    blobs = [path for path in cache.rglob("*") if path.is_file()]
    assert len(blobs) == len(set(files(one).values())) - 1  # without the manifest


# --- every moment, one after the other -----------------------------------------------------


WHILE = 0.02
"""Seconds that one which waits for the other is given."""


class Stepped(ReleaseStore):
    """A store that others see the same of, and that stops before a request until it may go on."""

    def __init__(self, bucket, stop):
        super().__init__("memory:///")
        self.bucket = bucket
        self._left = stop
        self.stopped, self.goes_on = asyncio.Event(), asyncio.Event()

    async def ask(self, request):
        self._left -= 1
        if self._left == -1:
            self.stopped.set()
            await self.goes_on.wait()
        return await super().ask(request)

    async def to_the_stop(self, task):
        """Until it stops, has ended, or waits for the other."""
        stopped = asyncio.ensure_future(self.stopped.wait())
        await asyncio.wait({task, stopped}, timeout=WHILE, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()


async def interleaved(first, second, bucket, one_stop, other_stop):
    """One goes so far, then the other so far, then the one to its end, then the other."""
    one, other = Stepped(bucket, one_stop), Stepped(bucket, other_stop)
    tasks = [asyncio.ensure_future(first(one))]
    await one.to_the_stop(tasks[0])
    tasks.append(asyncio.ensure_future(second(other)))
    await other.to_the_stop(tasks[1])
    one.goes_on.set()
    await asyncio.wait({tasks[0]}, timeout=WHILE)
    other.goes_on.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


def collecting(store):
    return collect.collect(store, NOW, grace=NOW)


def publications_and_collections(tmp_path, step, *, collection_first):
    old = built(tmp_path / "old", a="1 old", s="1 shared")
    new = built(tmp_path / "new", a="2 new", s="1 shared")
    older = built(tmp_path / "older", b="1 older")

    async def publication(store):
        done = await publishing(store, new)
        await move.promote(store, "prod", done.release)
        return done

    for one_stop, other_stop in itertools.product(range(0, 24, step), range(0, 24, step)):
        store = ReleaseStore("memory:///")
        published(store, old)
        published(store, older)
        works = (collecting, publication) if collection_first else (publication, collecting)
        found = asyncio.run(interleaved(*works, store.bucket, one_stop, other_stop))
        done = found[1 if collection_first else 0]
        if isinstance(done, BaseException):  # dropped between the two, since nothing kept it
            assert "dropped by gc" in str(done), done
            continue
        assert asyncio.run(store.resolve("prod")) == done.release
        asyncio.run(verify.in_store(store, done.release, Trust()))


def promotions_and_collections(tmp_path, step, *, collection_first):
    old = built(tmp_path / "old", a="1 old")
    release = publish.proven(old).name

    def promotion(store):
        return move.promote(store, "prod", release)

    for one_stop, other_stop in itertools.product(range(0, 12, step), range(0, 12, step)):
        store = ReleaseStore("memory:///")
        published(store, old)
        works = (collecting, promotion) if collection_first else (promotion, collecting)
        found = asyncio.run(interleaved(*works, store.bucket, one_stop, other_stop))
        moved = found[1 if collection_first else 0]
        if isinstance(moved, BaseException):
            assert isinstance(moved, InputError), moved
            assert "dropped by gc" in str(moved)
            continue
        channel, _ = asyncio.run(store.channel("prod"))
        assert channel.release == release
        asyncio.run(verify.in_store(store, release, Trust()))


MOMENTS = [publications_and_collections, promotions_and_collections]


@pytest.mark.parametrize("collection_first", [False, True])
@pytest.mark.parametrize("pair", MOMENTS)
def test_a_collection_at_many_moments(tmp_path, monkeypatch, pair, collection_first):
    monkeypatch.setattr("builder.release.store.TICK", 0.005)
    pair(tmp_path, 2, collection_first=collection_first)


@pytest.mark.campaign
@pytest.mark.parametrize("collection_first", [False, True])
@pytest.mark.parametrize("pair", MOMENTS)
def test_a_collection_at_every_moment(tmp_path, monkeypatch, pair, collection_first):
    monkeypatch.setattr("builder.release.store.TICK", 0.005)
    pair(tmp_path, 1, collection_first=collection_first)
