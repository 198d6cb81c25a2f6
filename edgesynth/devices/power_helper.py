"""A board's power mode, set over ssh with the rights that its administrator gave the user, and put back."""

import subprocess
import threading
from contextlib import AbstractContextManager, suppress
from types import TracebackType

from edgesynth.devices.transport import Transport
from edgesynth.errors import DeviceError

__all__ = ["HELPER", "HeldPowerMode"]

HELPER = "/usr/local/lib/edgesynth/edgesynth-power"
"""Where a deploy and install.sh put it (docs/service.md)."""
SET_LIMIT_S = 60.0
BEAT_S = 20.0
"""The helper puts the mode back after a minute without a sign of life."""

_HELD = b"held\n"
_COMMAND = """\
[ -x {helper} ] || {{ echo 'there is no {helper}' >&2; exit 1; }}
grep -q '^hold)' {helper} || {{ echo 'its {helper} is of an earlier agent, deploy again' >&2; exit 1; }}
[ "$(id -u)" = 0 ] && exec {helper} hold {number}
exec sudo -n {helper} hold {number}"""


class HeldPowerMode(AbstractContextManager[None]):
    """The mode with that number for as long as the `with` block lasts, by the helper on a board that is connected.

    Then the helper puts the mode and the clocks of before back; it does so by itself when this process dies, or the
    connection. Entering raises DeviceError with the helper's reason alone; leaving raises one where the mode could not
    be put back.
    """

    def __init__(self, transport: Transport, number: int) -> None:
        self._transport = transport
        self._number = number
        self._over = threading.Event()
        self._process: subprocess.Popen[bytes]
        self._beating: threading.Thread

    def __enter__(self) -> None:
        self._process = process = self._transport.open(_COMMAND.format(helper=HELPER, number=self._number))
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Timer(SET_LIMIT_S, process.kill)
        late.daemon = True
        late.start()
        try:
            said = process.stdout.readline()
        except BaseException:  # an interrupt: whatever was set is put back
            self._end()
            raise
        finally:
            late.cancel()
        if said != _HELD:
            raise DeviceError(self._end() or "no answer")
        self._beating = threading.Thread(target=self._beat, name="power mode", daemon=True)
        self._beating.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._beating.join()
        words = self._end()
        # Of a connection that broke there are no words, and the helper does its work all the same.
        if self._process.returncode != 0 and self._transport.broken() is None:
            raise DeviceError(
                f"{self._transport.host}: its power mode was not put back ({words or 'no reason given'}); see "
                "nvpmodel -q there"
            )

    def _beat(self) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        with suppress(OSError, ValueError):  # the helper is gone, or its stdin closed: leaving tells
            while not self._over.wait(BEAT_S):
                stdin.write(b".")
                stdin.flush()

    def _end(self) -> str:
        """Let go, and wait until all is as before; the last line that the helper wrote of what failed."""
        with self._process as process:
            stdin, process.stdin = process.stdin, None
            assert stdin is not None
            with suppress(OSError):
                stdin.close()
            try:
                _, said = process.communicate(timeout=SET_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                _, said = process.communicate()
        lines = said.decode(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("edgesynth-power: ") if lines else ""
