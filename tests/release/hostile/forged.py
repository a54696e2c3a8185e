"""Releases, and objects that somebody else has put into their store."""

import asyncio
import json
from datetime import timedelta

from builder.release import publish, pull

NOW = timedelta(0)


def published(store, folder):
    return asyncio.run(publish.publish(folder, store, publish.Options())).release


def pulled(store, name, folder, **options):
    return asyncio.run(pull.pull(store, name, folder, pull.Options(**options)))


def put(store, path, value):
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    asyncio.run(store.bucket.put(path, content))
    return content
