import { beforeEach, expect, test } from "vitest";

import { MOST_TILES, Wall } from "../src/wall";

const id = (number: number): string => String(number).padStart(20, "3");
const ids = (wall: Wall): (string | undefined)[] => wall.shown.value.map((entry) => entry?.cameraId);

beforeEach(() => {
  localStorage.clear();
  history.replaceState(null, "", "/");
});

test("a camera goes to the chosen place, and the next empty one is chosen", () => {
  const wall = new Wall();
  wall.lay(4);
  wall.put(id(1));
  wall.put(id(2));
  expect(ids(wall)).toEqual([id(1), id(2), undefined, undefined]);
  expect(wall.state.selected).toBe(2);
  wall.put(id(3), 0);
  expect(ids(wall)[0]).toBe(id(3));
  wall.put(id(4), 4);
  expect(ids(wall)).not.toContain(id(4));
});

test("places change their cameras without opening them anew", () => {
  const wall = new Wall();
  wall.lay(4);
  wall.put(id(1));
  const key = wall.shown.value[0]!.key;
  wall.swap(0, 3);
  expect([ids(wall)[3], wall.shown.value[3]!.key, wall.state.selected]).toEqual([id(1), key, 3]);
  wall.renew(3);
  expect(wall.shown.value[3]!.key).not.toBe(key);
});

test("of fewer places the chosen camera keeps one", () => {
  const wall = new Wall();
  wall.lay(9);
  wall.fill([1, 2, 3, 4, 5].map(id));
  wall.state.selected = 4;
  wall.toggleEnlarged(4);
  wall.lay(1);
  expect([ids(wall), wall.state.enlarged, wall.state.selected]).toEqual([[id(5)], undefined, 0]);
});

test("many cameras make the wall larger, up to sixteen, each once", () => {
  const wall = new Wall();
  wall.put(id(1));
  expect(wall.fill([id(1), id(2), id(3), id(3)])).toBe(2);
  expect([wall.state.layout, wall.count.value]).toEqual([4, 3]);
  expect(wall.fill(Array.from({ length: 40 }, (_, number) => id(100 + number)))).toBe(13);
  expect([wall.state.layout, wall.count.value]).toEqual([MOST_TILES, MOST_TILES]);
});

test("the wall is kept for each person, and the address goes before it", () => {
  const wall = new Wall();
  wall.lay(4);
  wall.put(id(1), 1);
  wall.keep("zhang");
  expect(location.search).toBe(`?wall=4:,${id(1)}`);
  const other = new Wall();
  other.restore("wang");
  expect(ids(other)).toEqual([undefined, id(1), undefined, undefined]);
  other.forget();
  expect([location.search, other.count.value]).toEqual(["", 0]);
  other.restore("wang");
  expect([other.state.layout, other.count.value]).toEqual([1, 0]);
  other.restore("zhang");
  expect(other.toString()).toBe(`4:,${id(1)}`);
});

test("what is no wall is not taken for one", () => {
  const wall = new Wall();
  for (const words of ["", "5:", "1:12", `1:${id(1)},${id(2)}`, "4:<script>", "x"]) expect(wall.read(words)).toBe(false);
});
