// Where one stands around the head, and how one gets there: the same angles as in cameras.py.

const HOME = { azimuth: 0, elevation: 0, radius: 2.7, fov: 18.8 };
const NEAREST = 1.1, FARTHEST = 8;
const LOWEST = -20, HIGHEST = 75; // from further below one would look into the open bust
const AUTO = 14; // degrees a second
const FIRST_TURN = 360; // degrees: after it the page rests, so that a forgotten tab costs nothing

class Camera {
  constructor() {
    Object.assign(this, HOME);
  }

  // Rows: right, down, forward.
  axes() {
    const a = (this.azimuth * Math.PI) / 180, e = (this.elevation * Math.PI) / 180;
    const [sa, ca, se, ce] = [Math.sin(a), Math.cos(a), Math.sin(e), Math.cos(e)];
    return [ca, 0, -sa, sa * se, -ce, ca * se, -sa * ce, -se, -ca * ce];
  }

  // In pixels; the field of view is that of the window's smaller side, as heads are framed in squares.
  focal(width, height) {
    return (0.5 / Math.tan((this.fov * Math.PI) / 360)) * Math.min(width, height);
  }
}

// A camera that follows a goal: every input moves the goal only, which makes motion smooth and gives it inertia.
class Orbit {
  constructor(calm) {
    this.camera = new Camera();
    this.goal = { ...HOME };
    this.calm = calm; // the user asked for less motion
    this.lag = 0.09; // seconds in which two thirds of the way to the goal are gone
    this.turning = calm ? 0 : FIRST_TURN; // degrees that auto-turn has left
  }

  place(pose) {
    for (const [name, value] of Object.entries(pose)) {
      if (!(name in HOME) || !Number.isFinite(value)) throw new TypeError(`no camera has ${name} ${value}`);
    }
    this.turning = 0;
    Object.assign(this.goal, pose);
    Object.assign(this.camera, this.goal);
  }

  hold() {
    this.turning = 0;
    Object.assign(this.goal, this.camera);
  }

  turn(right, up, lag = 0.09) {
    this.goal.azimuth += right;
    this.goal.elevation = Math.min(Math.max(this.goal.elevation + up, LOWEST), HIGHEST);
    this.lag = lag;
  }

  zoom(factor) {
    this.goal.radius = Math.min(Math.max(this.goal.radius * factor, NEAREST), FARTHEST);
  }

  reset() {
    const turns = Math.round(this.camera.azimuth / 360); // the short way round
    Object.assign(this.goal, HOME, { azimuth: 360 * turns });
    this.lag = 0.15;
  }

  // True while there is still a way to go.
  step(seconds) {
    if (this.turning > 0) {
      const by = Math.min(AUTO * seconds, this.turning);
      this.goal.azimuth += by;
      this.turning -= by;
    }
    const share = this.calm ? 1 : 1 - Math.exp(-seconds / this.lag);
    let rest = 0;
    for (const name of Object.keys(HOME)) {
      const way = this.goal[name] - this.camera[name];
      rest = Math.max(rest, Math.abs(way));
      this.camera[name] += way * share;
    }
    if (rest < 1e-3) Object.assign(this.camera, this.goal);
    return this.turning > 0 || rest >= 1e-3;
  }
}
