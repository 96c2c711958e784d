"""Who must not get in: they go to the shop's port for callers directly, without a proxy."""

import http.client
import ssl


def ask(world, certificates=None, name=None, tls=True):
    """What becomes of a request to the shop: a status, or how it was refused."""
    port = world.inbound["shop"]
    if tls:
        context = ssl.create_default_context(cafile=world.path / "certs/ca.pem")
        # The name is a SPIFFE id, which is not what is asked here.
        context.check_hostname = False
        if name:
            directory = world.path / certificates
            context.load_cert_chain(directory / f"{name}.pem", directory / f"{name}-key.pem")
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/products/lamp", headers={"host": "shop"})
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        alert = getattr(error, "reason", None)
        return f"no connection ({alert or type(error).__name__})"
    finally:
        connection.close()


def refused(world):
    """What each was told."""
    return {
        "no TLS": ask(world, tls=False),
        "TLS without a certificate": ask(world),
        "a customer of another CA": ask(world, "other", "customer"),
        "a guest of ours": ask(world, "certs", "guest"),
        "reviews, which may not": ask(world, "certs", "reviews"),
        # Who comes in this way, so that the others are not refused for something else.
        "a customer": ask(world, "certs", "customer"),
    }


def complaints(answers):
    wanted = {"a guest of ours": "403", "reviews, which may not": "403", "a customer": "200"}
    for who, answer in answers.items():
        if not answer.startswith(wanted.get(who, "no connection")):
            yield f"{who} got {answer}"
