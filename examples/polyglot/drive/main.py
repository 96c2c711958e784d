"""Runs the services, buys, breaks things, and tells what happened. Started by ../run."""

import argparse
import asyncio
import collections
import json
import math
import re
import signal
import sys
import time

import httpx
import protocols
import strangers
from world import World

WITHIN_SECONDS = 60
AT_ONCE = 8
SHARES = {"v1": 0.8, "v2": 0.2}
# A right split is off by more once in two million runs.
DEVIATIONS = 5
CALLERS = {
    "shop": "spiffe://polyglot.example/customer",
    "reviews": "spiffe://polyglot.example/shop",
    "ratings": "spiffe://polyglot.example/reviews",
    "shop, asked by ratings": "spiffe://polyglot.example/ratings",
}


class Tally:
    """What came of the requests."""

    def __init__(self):
        self.asked = 0
        self.failures = collections.Counter()
        self.versions = collections.Counter()
        self.instances = collections.Counter()
        self.attempts = collections.Counter()
        self.callers = collections.defaultdict(set)

    def add(self, answer):
        if answer.status_code != 200:
            self.failures[f"{answer.status_code} {answer.text.strip()}"[:300]] += 1
            return
        shop = answer.json()
        reviews = shop["reviews"]
        ratings = reviews["ratings"]
        self.versions[reviews["version"]] += 1
        self.instances[ratings["instance"]] += 1
        self.attempts[ratings["attempt"]] += 1
        for who, said in zip(CALLERS, (shop, reviews, ratings, ratings["shop"])):
            self.callers[who].add(said["caller"])


async def buy(world, requests):
    """Half of the requests, the end of ratings-b under way, the other half."""
    tally = Tally()
    # A forged identity: it must not arrive.
    forged = {"x-forwarded-client-cert": "URI=spiffe://polyglot.example/admin"}
    proxy = f"http://127.0.0.1:{world.outbound['customer']}"

    async def buyer(client):
        while tally.asked < requests:
            tally.asked += 1
            if tally.asked == requests // 2:
                await asyncio.to_thread(world.kill, "ratings-b")
            try:
                tally.add(await client.get("http://shop/products/lamp", headers=forged))
            except httpx.HTTPError as error:
                tally.failures[repr(error)] += 1

    async with httpx.AsyncClient(proxy=proxy, timeout=20) as client:
        await asyncio.gather(*(buyer(client) for _ in range(AT_ONCE)))
    return tally


def ejections(world):
    """How often each version of reviews left an instance out, by what their proxies logged."""
    names = ("reviews-v1", "reviews-v2")
    return {name: len(re.findall('code="outlier_ejected"', world.log(name))) for name in names}


def off(tally):
    """How many standard deviations each version's share is off."""
    answered = sum(tally.versions.values())
    return {
        version: (tally.versions[version] - answered * share) / math.sqrt(max(1, answered) * share * (1 - share))
        for version, share in SHARES.items()
    }


def complaints(figures):
    """What does not hold."""
    if failed := sum(figures["failures"].values()):
        yield f"{failed} requests failed"
    if any(abs(deviations) > DEVIATIONS for deviations in figures["deviations"].values()):
        yield "the split is off"
    if set(figures["instances"]) != {"a", "b", "c"}:
        yield "not every instance of ratings answered"
    if figures["answered_503"] == 0:
        yield "ratings-c was never sick"
    if figures["retried"] < figures["answered_503"]:
        yield "there are 503s that were not retried"
    if figures["callers"] != {who: [caller] for who, caller in CALLERS.items()}:
        yield "somebody else was seen"
    yield from strangers.complaints(figures["strangers"])
    yield from (f"{way}: {went}" for way, went in figures["protocols"].items() if went is not True)


def words(figures):
    """The report."""
    yield f"requests       {figures['requests']}, failures {sum(figures['failures'].values())}"
    yield from (f"               {count} times {why}" for why, count in figures["failures"].items())
    for version, count in figures["versions"].items():
        away = f"{figures['deviations'][version]:+.1f} standard deviations from {SHARES[version]:.0%}"
        yield f"reviews {version}     {count} ({away})"
    by = ", ".join(f"{instance} {count}" for instance, count in figures["instances"].items())
    yield f"ratings        {by}; b was killed at half time"
    yield f"retries        {figures['retried']}: ratings-c said 503 {figures['answered_503']} times, b was gone"
    by = ", ".join(f"{name} {count}" for name, count in figures["ejections"].items())
    yield f"ejections      {by}"
    yield "who called     " + "\n               ".join(
        f"{who}: {', '.join(map(str, callers))}" for who, callers in figures["callers"].items()
    )
    yield "at the shop    " + "\n               ".join(f"{who}: {got}" for who, got in figures["strangers"].items())
    yield "also through   " + "\n               ".join(
        f"{way}: {'the same came out' if went is True else went}" for way, went in figures["protocols"].items()
    )


def run(world, given):
    tally = asyncio.run(buy(world, given.requests))
    sick = httpx.get(f"http://127.0.0.1:{world.application['ratings-c']}/failed", trust_env=False)
    return {
        "requests": tally.asked,
        "failures": dict(tally.failures),
        "versions": dict(sorted(tally.versions.items())),
        "deviations": off(tally),
        "instances": dict(sorted(tally.instances.items())),
        "retried": sum(count * (int(attempt) - 1) for attempt, count in tally.attempts.items()),
        "answered_503": int(sick.text),
        "ejections": ejections(world),
        "callers": {who: sorted(map(str, tally.callers[who])) for who in CALLERS},
        "strangers": strangers.refused(world),
        "protocols": protocols.run(world.outbound["customer"], given.mebibytes),
    }


def late(*_):
    raise TimeoutError(f"not done within {WITHIN_SECONDS} s")


def stop(*_):
    sys.exit("stopped")


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--requests", type=int, default=400)
    arguments.add_argument("--mebibytes", type=int, default=100)
    arguments.add_argument("--json", action="store_true", help="one line for programs")
    arguments.add_argument("--logs", action="store_true", help="what the processes wrote, to standard error")
    given = arguments.parse_args()
    # Whatever ends us, `World` ends what it started.
    signal.signal(signal.SIGALRM, late)
    signal.signal(signal.SIGTERM, stop)
    signal.alarm(WITHIN_SECONDS)
    begun = time.monotonic()
    with World() as world:
        figures = run(world, given)
        if given.logs:
            for name in world.processes:
                print(f"--- {name}\n{world.log(name)}", file=sys.stderr)
    figures["seconds"] = round(time.monotonic() - begun, 1)
    figures["complaints"] = list(complaints(figures))
    if given.json:
        print(json.dumps(figures))
    else:
        print(*words(figures), sep="\n")
        print(f"in {figures['seconds']} s: " + ("; ".join(figures["complaints"]) or "all of it holds"))
    sys.exit(1 if figures["complaints"] else 0)


if __name__ == "__main__":
    main()
