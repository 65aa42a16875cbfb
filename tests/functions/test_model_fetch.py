"""The weights reach the bucket whole and checked, or not at all, and the answer says why in one
line: a real hub that fails over real HTTP, and S3 by moto.
"""

import socket

import pytest
from support.model_hubs import Request
from support.model_stack import CONTENT, FIX, PART, ModelStack
from support.world import BUCKET

from model_fetch import bucket as buckets
from model_fetch import fetch
from model_fetch import hub as hubs
from tlfif import names

pytestmark = [pytest.mark.integration, pytest.mark.story("EC2-003")]


# --- all is well


async def test_the_weights_come_once(model_stack: ModelStack) -> None:
    answer = await model_stack.run()
    key = names.model_key(model_stack.hub.sha256)
    assert answer == {"ok": True, "message": f"{key} is there, {len(CONTENT):,} bytes, checked"}
    model_stack.assert_whole()
    asked = len(model_stack.hub.asked)
    again = await model_stack.run()
    assert again == {"ok": True, "message": f"{key} is there, {len(CONTENT):,} bytes"}
    assert len(model_stack.hub.asked) == asked


async def test_weights_that_are_there_need_no_hub(model_stack: ModelStack) -> None:
    await model_stack.run()
    model_stack.hub.close()
    assert (await model_stack.run())["ok"]


async def test_what_a_person_put_into_the_bucket_is_checked_and_taken(
    model_stack: ModelStack,
) -> None:
    model_stack.s3.put_object(
        Bucket=BUCKET, Key=names.incoming_key(model_stack.hub.sha256), Body=model_stack.hub.content
    )
    assert (await model_stack.run())["ok"]
    model_stack.assert_whole()
    assert model_stack.hub.asked == []


async def test_large_weights_are_copied_in_parts(
    model_stack: ModelStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "COPY_BYTES", PART)
    assert (await model_stack.run())["ok"]
    model_stack.assert_whole()
    copied = [each for each in model_stack.endpoint.calls if each.operation == "UploadPartCopy"]
    assert len(copied) == 3


@pytest.mark.parametrize("size", [1, PART - 1, PART, PART + 1])
async def test_a_file_of_any_size_comes(
    size: int, model_stack: ModelStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_stack.hub.content = CONTENT[:size]
    monkeypatch.setenv("TLFIF_MODEL_SHA256", model_stack.hub.sha256)
    assert (await model_stack.run())["ok"]
    model_stack.assert_whole()


async def test_credentials_are_neither_sent_nor_kept(model_stack: ModelStack) -> None:
    seen: list[str] = []

    def front(request: Request) -> None:
        seen.extend(request.headers)
        request.answer(302, ("Location", "/stored"), ("Set-Cookie", "session=1"))

    model_stack.hub.front = front
    assert (await model_stack.run())["ok"]
    assert {each.lower() for each in seen} <= {
        "accept-encoding",
        "connection",
        "host",
        "range",
        "user-agent",
    }


# --- a hub that fails for a moment


FOR_A_MOMENT = {
    "cut in the middle": lambda request: request.serve(cut_after=PART // 2),
    "cut before the first byte": lambda request: request.serve(cut_after=0),
    "hung up": lambda request: request.hang_up(),
    "500": lambda request: request.answer(500),
    "429": lambda request: request.answer(429, ("Retry-After", "0")),
    "503 with a date": lambda request: request.answer(
        503, ("Retry-After", "Wed, 21 Oct 2026 07:28:00 GMT")
    ),
    "too short": lambda request: request.serve(cut_after=1000, length=1000),
    "another range": lambda request: request.serve(claim=f"bytes 1-2/{len(CONTENT)}"),
}


@pytest.mark.parametrize("what", FOR_A_MOMENT)
async def test_what_fails_for_a_moment_is_asked_for_again(
    what: str, model_stack: ModelStack
) -> None:
    model_stack.hub.faults = [FOR_A_MOMENT[what]] * 4
    assert (await model_stack.run())["ok"]
    assert model_stack.hub.faults == []
    model_stack.assert_whole()


async def test_no_more_is_read_than_was_asked_for(model_stack: ModelStack) -> None:
    model_stack.hub.always = lambda request: request.serve(length=2 * len(CONTENT))
    assert (await model_stack.run())["ok"]
    model_stack.assert_whole()


async def test_a_cut_part_goes_on_where_it_was_cut(model_stack: ModelStack) -> None:
    model_stack.hub.faults = [FOR_A_MOMENT["cut in the middle"]] * 3
    assert (await model_stack.run())["ok"]
    # One byte more: the first, for the file's size.
    assert model_stack.hub.sent == len(CONTENT) + 1


# --- a hub that refuses, or is not there


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (401, "gated or private"),
        (403, "gated or private"),
        (404, "correct tl-fif:model.repository, tl-fif:model.revision or tl-fif:model.file"),
        (410, "correct tl-fif:model.repository"),
        (418, "use another hub (tl-fif:model.hub)"),
    ],
)
async def test_a_refusal_is_one_line_and_is_not_asked_again(
    status: int, says: str, model_stack: ModelStack
) -> None:
    model_stack.hub.front = lambda request: request.answer(status, body=b"x" * 100_000)
    await model_stack.refused(model_stack.hub.url, str(status), says, FIX)
    assert len(model_stack.hub.asked) == 1
    model_stack.assert_nothing()


async def test_a_hub_that_is_not_well_is_given_up_for_now(model_stack: ModelStack) -> None:
    model_stack.hub.front = lambda request: request.answer(502)
    await model_stack.refused(model_stack.hub.url, "it answers 502", "every hour", FIX)
    assert len(model_stack.hub.asked) == hubs.TRIES


async def test_a_hub_that_is_away_is_said_so(
    model_stack: ModelStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLFIF_MODEL_URL", "http://127.0.0.1:9/o/n/resolve/r/f.gguf")
    await model_stack.refused("127.0.0.1:9", "ConnectionRefusedError", FIX)
    monkeypatch.setenv("TLFIF_MODEL_URL", "https://hub.invalid/o/n/resolve/r/f.gguf")
    await model_stack.refused("hub.invalid", "gaierror", FIX)


async def test_a_silent_hub_is_not_waited_for(
    model_stack: ModelStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "TIMEOUT_S", 0.05)
    monkeypatch.setattr(hubs, "TRIES", 2)
    # Nobody accepts: the kernel takes the connection and the request.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv("TLFIF_MODEL_URL", f"http://127.0.0.1:{port}/f.gguf")
        await model_stack.refused("imed out", FIX)


async def test_a_circle_of_redirects_ends(model_stack: ModelStack) -> None:
    model_stack.hub.front = lambda request: request.answer(302, ("Location", request.path))
    await model_stack.refused(model_stack.hub.url, "302", "infinite loop", FIX)
    assert len(model_stack.hub.asked) < 20


@pytest.mark.parametrize(
    "to", ["http://example.com/f", "ftp://127.1.1.1/f", "http://169.254.169.254/"]
)
async def test_no_redirect_leads_off_https(to: str, model_stack: ModelStack) -> None:
    model_stack.hub.front = lambda request: request.answer(302, ("Location", to))
    await model_stack.refused(model_stack.hub.url)
    model_stack.assert_nothing()


async def test_a_hub_without_ranges_is_no_use(model_stack: ModelStack) -> None:
    model_stack.hub.front = lambda request: request.answer(200, body=CONTENT)
    await model_stack.refused("not served in ranges (status 200)", "tl-fif:model.hub", FIX)
    model_stack.assert_nothing()


async def test_a_file_that_changes_its_size_meanwhile_is_refused(model_stack: ModelStack) -> None:
    model_stack.hub.always = lambda request: request.serve(
        claim=f"bytes {request.first}-{request.last}/{len(CONTENT) + 1}"
    )
    await model_stack.refused(f"had {len(CONTENT)} bytes, and has {len(CONTENT) + 1} now", FIX)


# --- other weights than wanted


async def test_a_hash_that_the_hub_itself_tells_is_compared_before_anything_comes(
    model_stack: ModelStack,
) -> None:
    model_stack.hub.linked = "b" * 64
    await model_stack.refused(model_stack.hub.sha256, "b" * 64, "tl-fif:model.sha256", FIX)
    assert model_stack.hub.sent == 1
    model_stack.assert_nothing()


@pytest.mark.parametrize("linked", ['W/"x"', "f" * 40, ""])
async def test_an_etag_that_is_no_hash_says_nothing(linked: str, model_stack: ModelStack) -> None:
    model_stack.hub.linked = linked
    assert (await model_stack.run())["ok"]


async def test_wrong_bytes_never_become_weights(model_stack: ModelStack) -> None:
    other = bytearray(CONTENT)
    other[-1] ^= 1
    model_stack.hub.always = lambda request: request.serve(content=bytes(other))
    await model_stack.refused(f"should be {model_stack.hub.sha256}, and what came has ", FIX)
    model_stack.assert_nothing()
    # A hub that is right again is believed again.
    model_stack.hub.always = None
    assert (await model_stack.run())["ok"]
    model_stack.assert_whole()


# --- time


async def test_a_run_that_has_no_time_left_keeps_what_came(
    model_stack: ModelStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "PARALLEL", 1)

    def slow(request: Request) -> None:
        if request.first >= PART:
            model_stack.left_ms = 10_000
        request.serve()

    model_stack.hub.always = slow
    await model_stack.refused("the next call goes on")
    came = model_stack.hub.sent
    model_stack.left_ms, model_stack.hub.always = 900_000, None
    assert (await model_stack.run())["ok"]
    model_stack.assert_whole()
    assert model_stack.hub.sent <= came + len(CONTENT) - PART + 1, "no part came twice"


async def test_a_trickle_ends_with_the_functions_time(model_stack: ModelStack) -> None:
    def trickle(request: Request) -> None:
        model_stack.left_ms -= 440_001
        request.serve(pause_s=0.01)

    model_stack.hub.always = trickle
    await model_stack.refused("the function's time was too short")
