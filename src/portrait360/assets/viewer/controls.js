// Mouse, touch and keys move the orbit's goal; everything else they ask of the page goes through `commands`.

const COAST = 0.25; // seconds in which two thirds of a released turn have run out
const KEY_TURN = 10; // degrees
const KEY_ZOOM = 1.1;

class Controls {
  constructor(canvas, orbit, commands) {
    this.canvas = canvas;
    this.orbit = orbit;
    this.commands = commands;
    this.fingers = new Map();
    this.speed = [0, 0]; // degrees a second
    this.last = 0;
    this.tap = { time: -Infinity, x: 0, y: 0 };
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.release(event));
    canvas.addEventListener("pointercancel", (event) => this.release(event));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    document.addEventListener("keydown", (event) => this.key(event));
  }

  press(event) {
    if (event.button > 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.classList.add("held");
    this.fingers.set(event.pointerId, { x: event.clientX, y: event.clientY, path: 0 });
    this.speed = [0, 0];
    this.last = event.timeStamp;
    this.orbit.hold();
    this.commands.touched();
  }

  move(event) {
    const finger = this.fingers.get(event.pointerId);
    if (!finger) return;
    const apart = this.apart();
    const [dx, dy] = [event.clientX - finger.x, event.clientY - finger.y];
    Object.assign(finger, { x: event.clientX, y: event.clientY, path: finger.path + Math.hypot(dx, dy) });
    if (this.fingers.size === 1) this.drag(dx, dy, event.timeStamp);
    else if (apart > 0) this.orbit.zoom(apart / Math.max(this.apart(), 1));
    this.commands.changed();
  }

  drag(dx, dy, time) {
    const degrees = 200 / Math.min(this.canvas.clientWidth, this.canvas.clientHeight);
    const seconds = Math.max((time - this.last) / 1000, 0.001);
    const keep = Math.exp(-seconds / 0.05);
    const turned = [-dx * degrees, dy * degrees];
    this.speed = this.speed.map((old, i) => keep * old + (1 - keep) * (turned[i] / seconds));
    this.last = time;
    this.orbit.turn(...turned, 0.04);
  }

  release(event) {
    const finger = this.fingers.get(event.pointerId);
    if (!finger) return;
    const alone = this.fingers.size === 1;
    this.fingers.delete(event.pointerId);
    if (alone) {
      this.canvas.classList.remove("held");
      if (event.timeStamp - this.last < 60) this.orbit.turn(...this.speed.map((v) => v * COAST), COAST);
    }
    if (alone && finger.path < 6 && event.type === "pointerup") this.tapped(event);
    this.commands.changed();
  }

  // Not `dblclick`, which touch screens do not send where the page takes touches itself.
  tapped({ timeStamp, clientX: x, clientY: y }) {
    const twice = timeStamp - this.tap.time < 350 && Math.hypot(x - this.tap.x, y - this.tap.y) < 30;
    this.tap = { time: twice ? -Infinity : timeStamp, x, y };
    if (twice) this.orbit.reset();
  }

  apart() {
    const [a, b] = this.fingers.values();
    return b ? Math.hypot(a.x - b.x, a.y - b.y) : 0;
  }

  wheel(event) {
    event.preventDefault();
    const pixels = event.deltaY * [1, 16, 400][event.deltaMode] * (event.ctrlKey ? 6 : 1); // ctrl: a touchpad's pinch
    this.orbit.zoom(Math.exp(0.0012 * Math.min(Math.max(pixels, -200), 200)));
    this.commands.touched();
    this.commands.changed();
  }

  key(event) {
    const onButton = event.target instanceof HTMLButtonElement && [" ", "Enter"].includes(event.key);
    if (event.ctrlKey || event.metaKey || event.altKey || onButton) return;
    const { orbit, commands } = this;
    const actions = {
      ArrowLeft: () => orbit.turn(-KEY_TURN, 0),
      ArrowRight: () => orbit.turn(KEY_TURN, 0),
      ArrowUp: () => orbit.turn(0, KEY_TURN),
      ArrowDown: () => orbit.turn(0, -KEY_TURN),
      "+": () => orbit.zoom(1 / KEY_ZOOM),
      "=": () => orbit.zoom(1 / KEY_ZOOM),
      "-": () => orbit.zoom(KEY_ZOOM),
      r: () => orbit.reset(),
      m: commands.shape,
      b: commands.background,
      f: commands.full,
      "?": commands.hint,
    };
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (event.key === " ") commands.turn();
    else if (action) {
      commands.touched();
      action();
    } else return;
    event.preventDefault();
    commands.changed();
  }
}
