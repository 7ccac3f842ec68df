"""The published Python client: one writer through one replica, two followers and a reader through another.

    python clients.py URL-TO-WRITE-TO URL-TO-READ-FROM MESSAGES

Ends well if every message was stored, and each follower got all of them in order, none twice. The client has no
producers, so the writer numbers its messages by `Stream-Seq`: one whose outcome is unknown is sent again, and is
stored already if its number is refused then.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
from durable_streams import DurableStream, DurableStreamError, SeqConflictError, stream

ATTEMPTS_MAX = 20


def follow(url, live, count):
    """The numbers that a follower got, once there are enough."""
    seen, offset = [], "-1"
    while True:
        # A follow by events ends after a minute.
        with stream(url, offset=offset, live=live) as response:
            for message in response.iter_json():
                seen.append(message["number"])
                if len(seen) >= count:
                    return seen
            offset = response.offset


def append(handle, number):
    """Stores one message; says how often it had to be sent."""
    for attempt in range(1, ATTEMPTS_MAX + 1):
        try:
            handle.append({"number": number}, seq=f"{number:08}")
            return attempt
        except SeqConflictError:
            # Refused at the first attempt, it would be somebody else's.
            assert attempt > 1, f"{number} is taken"
            return attempt
        except DurableStreamError as error:
            assert error.status is None or error.status >= 500, error
            time.sleep(0.05)
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(f"{number} was not stored")


def main(write_url, read_url, count):
    handle = DurableStream.create(write_url, content_type="application/json", batching=False)
    expected = list(range(count))
    with ThreadPoolExecutor() as threads:
        followers = [threads.submit(follow, read_url, live, count) for live in ("sse", "long-poll")]
        attempts = 0
        for number in expected:
            attempts += append(handle, number)
            time.sleep(0.005)
        for follower in followers:
            assert follower.result(timeout=60) == expected
    with stream(read_url, live=False) as response:
        assert [message["number"] for message in response.iter_json()] == expected
    print(f"{count} messages, {attempts - count} sent again")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
