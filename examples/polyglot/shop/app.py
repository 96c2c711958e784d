"""The shop: Starlette and httpx. It asks `reviews` by its name, through HTTP_PROXY.

PORT is where it listens.
"""

import contextlib
import os
import re

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route


def caller(request):
    """Who calls, as the server before us has proven it."""
    found = re.search("URI=([^;,]+)", request.headers.get("x-forwarded-client-cert", ""))
    return found and found[1]


async def product(request):
    """A product, with what is said of it."""
    name = request.path_params["name"]
    answer = await request.app.state.client.get(f"http://reviews/reviews/{name}")
    reviews = answer.json() if answer.is_success else {"error": answer.text}
    status = 200 if answer.is_success else 502
    return JSONResponse({"name": name, "caller": caller(request), "reviews": reviews}, status)


async def sold(request):
    """How often a product was sold, for who must know whose ratings count."""
    name = request.path_params["name"]
    return JSONResponse({"name": name, "caller": caller(request), "sold": len(name)})


@contextlib.asynccontextmanager
async def lifespan(app):
    async with httpx.AsyncClient(timeout=15) as app.state.client:
        yield


routes = [Route("/products/{name}", product), Route("/sold/{name}", sold)]
if __name__ == "__main__":
    app = Starlette(routes=routes, lifespan=lifespan)
    uvicorn.run(app, port=int(os.environ["PORT"]), log_level="warning")
