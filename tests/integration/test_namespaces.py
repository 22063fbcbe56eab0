"""The tests' own networks do what the tests of links rely on."""

import asyncio
import time

from support.namespaces import Levels, levels

PORT = 7_000


async def test_the_border_lets_out_and_never_in_and_the_line_is_as_slow_as_told() -> None:
    listening = asyncio.Event()
    loop = asyncio.get_running_loop()
    asked: list[str] = []

    async def serve() -> None:
        done = asyncio.Event()

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            loop.call_soon_threadsafe(asked.append, writer.get_extra_info("peername")[0])
            while data := await reader.read(100):
                writer.write(data)
            if len(asked) == 2:
                done.set()

        async with await asyncio.start_server(echo, Levels.CITY_BELOW, PORT):
            loop.call_soon_threadsafe(listening.set)
            await done.wait()

    async def ask() -> float:
        reader, writer = await asyncio.open_connection(Levels.CITY_BELOW, PORT)
        net.down.delay_s = 0.1
        begun = time.monotonic()
        writer.write(b"x")
        await reader.readexactly(1)
        took = time.monotonic() - begun
        net.down.restore()
        writer.close()
        return took

    async def intrude() -> str:
        try:
            async with asyncio.timeout(0.5):
                await asyncio.open_connection("10.77.2.2", PORT)
        except (OSError, TimeoutError) as error:
            return type(error).__name__
        return "let in"

    with levels() as net:
        serving = asyncio.create_task(net.city.do(serve))
        await asyncio.wait_for(listening.wait(), 10)
        took = await net.district.do(ask)
        async with net.district.reach(f"{Levels.CITY_BELOW}:{PORT}") as here:
            host, _, port = here.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"y")
            assert await reader.readexactly(1) == b"y"
            writer.close()
        assert asked == ["10.77.2.2"] * 2
        assert took >= 0.2
        assert await net.city.do(intrude) != "let in"
        await serving
        assert net.city.octets("down0")[0] > 0
