// The page: it draws when something changed, and only then.

const BACKGROUNDS = { grey: 128 / 255, white: 1, black: 0 };
const SHARPEST = 2; // pixels a CSS pixel: beyond it splats cost more than they show
const COARSEST = 0.4; // of that, while a slow machine moves
const SLOW = 1 / 25, FAST = 1 / 45; // seconds a picture: between them the resolution stays

class Page {
  constructor(head) {
    this.head = head;
    this.canvas = document.getElementById("view");
    this.orbit = new Orbit(matchMedia("(prefers-reduced-motion: reduce)").matches);
    this.mode = head.splats ? "splats" : "mesh";
    this.layers = {};
    this.asked = false;
    this.before = 0; // when the last picture of a motion was drawn
    this.pace = 1 / 30; // seconds a picture, about
    this.share = 1; // of the full resolution, while moving
    this.coarse = false; // whether it is moving, or was until just now
    this.waiting = [];
    const context = { alpha: true, antialias: false, depth: false, powerPreference: "high-performance" };
    this.gl = this.canvas.getContext("webgl2", context);
  }

  async start() {
    this.listen();
    await this.build();
    await this.settled();
  }

  async build() {
    const { gl, head } = this;
    if (head.splats) this.layers.splats = new SplatLayer(gl, unpackSplats(head.splats), () => this.changed());
    if (head.mesh) {
      const mesh = unpackMesh(head.mesh), picture = new Image();
      picture.src = mesh.texture;
      await picture.decode();
      this.layers.mesh = new MeshLayer(gl, mesh, picture);
    }
  }

  listen() {
    const commands = {
      changed: () => this.changed(),
      touched: () => this.touched(),
      turn: () => this.turn(),
      shape: () => this.setMode(this.mode === "mesh" ? "splats" : "mesh"),
      background: () => this.nextBackground(),
      full: () => this.full(),
      hint: () => this.hint(),
    };
    new Controls(this.canvas, this.orbit, commands);
    for (const name of ["turn", "shape", "background", "full", "hint"]) {
      document.getElementById(name).addEventListener("click", commands[name]);
    }
    for (const [name, offered] of [
      ["shape", this.head.splats && this.head.mesh],
      ["full", document.fullscreenEnabled],
    ]) {
      document.getElementById(name).hidden = document.getElementById(`key-${name}`).hidden = !offered;
    }
    document.addEventListener("fullscreenchange", () => this.pressed("full", document.fullscreenElement));
    new ResizeObserver(() => this.changed()).observe(this.canvas);
    this.canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    this.canvas.addEventListener("webglcontextrestored", () => this.rebuild());
    this.pressed("turn", this.orbit.turning);
    this.pressed("shape", this.mode === "mesh");
  }

  async rebuild() {
    Object.values(this.layers).forEach((layer) => layer.drop());
    this.layers = {};
    await this.build();
    this.changed();
  }

  changed() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame((now) => this.frame(now));
  }

  frame(now) {
    this.asked = false;
    const seconds = this.before ? (now - this.before) / 1000 : 1 / 60;
    const moving = this.orbit.step(Math.min(seconds, 0.1));
    this.adapt(moving, seconds);
    const final = this.draw() && !moving && !this.coarse;
    this.pressed("turn", this.orbit.turning);
    this.before = moving ? now : 0;
    if (moving) this.changed();
    if (final || this.orbit.turning > 0) this.waiting.splice(0).forEach((finish) => finish());
  }

  // A slow machine moves smoothly at a coarser resolution, and rests at the full one.
  adapt(moving, seconds) {
    clearTimeout(this.rest);
    if (!moving) {
      this.coarse &&= this.share < 1;
      // not at once: a hand that pauses would wait for a slow picture in the middle of its turn
      if (this.coarse) this.rest = setTimeout(() => { this.coarse = false; this.changed(); }, 150);
      return;
    }
    this.coarse = true;
    this.pace += 0.25 * (Math.min(seconds, 0.2) - this.pace);
    if (this.pace > SLOW) this.share = Math.max(this.share * 0.85, COARSEST);
    else if (this.pace < FAST) this.share = Math.min(this.share * 1.05, 1);
  }

  // True when the picture is final for its camera.
  draw() {
    const { gl, canvas, orbit, mode } = this;
    const layer = this.layers[mode];
    if (!layer || gl.isContextLost()) return false;
    const sharp = Math.min(devicePixelRatio || 1, SHARPEST) * (this.coarse ? this.share : 1);
    const width = Math.max(Math.round(canvas.clientWidth * sharp), 1);
    const height = Math.max(Math.round(canvas.clientHeight * sharp), 1);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    gl.viewport(0, 0, width, height);
    const grey = BACKGROUNDS[document.body.dataset.background];
    gl.clearColor(grey, grey, grey, 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
    return layer.draw(orbit.camera, width, height, grey);
  }

  settled() {
    return new Promise((finish) => {
      this.waiting.push(finish);
      this.changed();
    });
  }

  pressed(name, value) {
    document.getElementById(name).setAttribute("aria-pressed", String(Boolean(value)));
  }

  touched() {
    this.orbit.turning = 0;
    document.getElementById("help").classList.add("gone");
  }

  turn() {
    this.orbit.turning = this.orbit.turning > 0 ? 0 : Infinity;
    document.getElementById("help").classList.add("gone");
    this.changed();
  }

  setMode(mode) {
    if (!this.layers[mode]) return;
    this.mode = mode;
    this.pressed("shape", mode === "mesh");
    this.changed();
  }

  setBackground(name) {
    if (!(name in BACKGROUNDS)) throw new TypeError(`no background ${name}`);
    document.body.dataset.background = name;
    this.changed();
  }

  nextBackground() {
    const names = Object.keys(BACKGROUNDS);
    this.setBackground(names[(names.indexOf(document.body.dataset.background) + 1) % names.length]);
  }

  full() {
    if (document.fullscreenElement) document.exitFullscreen();
    else document.documentElement.requestFullscreen?.().catch(() => {}); // the browser may refuse; nothing is lost
  }

  hint() {
    const keys = document.getElementById("keys");
    keys.hidden = !keys.hidden;
    this.pressed("hint", !keys.hidden);
    document.getElementById("help").classList.add("gone");
  }

  // Milliseconds of a picture, drawn and read back so that the graphics card has truly finished it.
  frameTime(pictures = 7) {
    const { gl } = this, pixel = new Uint8Array(4), times = [];
    for (let i = 0; i <= pictures; i++) {
      const began = performance.now();
      this.draw();
      gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);
      if (i > 0) times.push(performance.now() - began);
    }
    const frame = times.sort((a, b) => a - b)[times.length >> 1];
    return { frame, sort: this.layers.splats?.sortTime ?? 0 };
  }
}

function refuse(text) {
  const sorry = document.getElementById("sorry");
  sorry.textContent = text;
  sorry.hidden = false;
  document.querySelectorAll("#tools, #help").forEach((element) => { element.hidden = true; });
}

function open() {
  const page = new Page(JSON.parse(document.getElementById("head").textContent));
  if (!page.gl) {
    refuse("This head is drawn with WebGL 2, which this browser lacks or has switched off. "
      + "Please open the page in a current Firefox, Chrome, Edge or Safari.");
    return;
  }
  const ready = page.start().catch((error) => {
    refuse("This head could not be drawn; the browser's console says why.");
    throw error;
  });
  window.portrait360 = {
    ready,
    setCamera: (pose) => { page.orbit.place(pose); return page.settled(); },
    setMode: (mode) => { page.setMode(mode); return page.settled(); },
    setBackground: (name) => { page.setBackground(name); return page.settled(); },
    camera: () => ({ ...page.orbit.camera }),
    settled: () => page.settled(),
    frameTime: (pictures) => page.frameTime(pictures),
  };
}

open();
