// The page: it draws when something changed, and only then.

const SURFACES = ["lit", "clay", "normals", "wireframe"];
const SHARPEST = 2; // pixels a CSS pixel
const COARSEST = 0.4; // of that, while a slow machine moves
const SLOW = 1 / 25, FAST = 1 / 45; // seconds a picture: between them the resolution stays
const AUTO = 14; // degrees a second
const FIRST_TURN = 360; // degrees: after it the page rests, so that a forgotten tab costs nothing

const byId = (id) => document.getElementById(id);

class Page {
  constructor(about) {
    this.about = about;
    this.calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.modes = [...(about.splats ? ["splats"] : []), ...(about.mesh ? SURFACES : [])];
    this.camera = makeCamera(findStart(about.camera));
    this.controls = new THREE.OrbitControls(this.camera, byId("view"));
    Object.assign(this.controls, {
      enablePan: false, enableDamping: !this.calm, dampingFactor: 0.1, minDistance: NEAREST, maxDistance: FARTHEST,
      minPolarAngle: 0.2, maxPolarAngle: Math.PI - 0.5, rotateSpeed: 0.8, autoRotateSpeed: -AUTO / 6,
    });
    this.controls.touches.TWO = 3; // zoom and turn
    this.controls.target.set(0, TARGET_HEIGHT, 0);
    this.face = about.face ? new Face(about.face, this.calm) : null;
    this.light = { ...KEY, strength: 1 };
    this.views = {}; // of splats and of the mesh, once they are needed
    Object.assign(this, { mode: null, turning: 0, asked: false, before: 0, pace: 1 / 30, share: 1, coarse: false, waiting: [] });
    this.pointer = null; // where it is in the window
    this.setBackground("grey");
  }

  async start() {
    new Tools(this);
    this.setIdle(!this.calm);
    if (!this.face && !this.calm) this.turn(FIRST_TURN);
    await this.show(this.modes[0]);
    byId("wait").hidden = true;
    await this.settled();
    if (this.about.rig) await this.view("rig");
    await this.settled();
  }

  bytes(id) {
    this.unpacked ??= {};
    return this.unpacked[id] ??= unpack(byId(id).textContent);
  }

  // A view is made when it is first shown: a page of splats never reads its mesh unless it is asked to.
  view(kind) {
    this.made ??= {};
    return this.made[kind] ??= { splats: () => this.makeSplats(), rig: () => this.makeRig(), mesh: () => this.makeMesh() }[kind]();
  }

  async makeSplats() {
    const splats = unpackSplats(this.about.splats, await this.bytes("splats_data"));
    this.views.splats = new SplatView(byId("splats"), splats, () => this.changed());
  }

  // What moves the splats: the first picture doesn't wait for it.
  async makeRig() {
    await this.view("splats");
    const [glb, data] = await Promise.all([this.bytes("glb"), this.bytes("rig_data")]), { about, views: { splats } } = this;
    const mesh = new MovingMesh(glb, about.rig.parts, about.face);
    splats.attach(new BoundSplats(mesh, about.rig, data, splats.splats), this.face);
    this.gaze();
  }

  async makeMesh() {
    byId("wait").hidden = false;
    const { scene } = await readGlb(await this.bytes("glb"));
    const { light, picture: background } = this;
    this.views.mesh = new MeshView(byId("mesh"), scene, { light, background, changed: () => this.changed() });
    this.face?.attach(scene);
    this.gaze();
    byId("wait").hidden = true;
  }

  async show(mode) {
    if (!this.modes.includes(mode)) throw new TypeError(`no way to show it as ${mode}`);
    this.wanted = mode;
    document.querySelector(`#modes [value="${mode}"]`).checked = true;
    byId("note").classList.toggle("gone", mode !== "splats"); // keeps its place: the light below it may be in hand
    const kind = mode === "splats" ? "splats" : "mesh";
    await this.view(kind);
    if (this.wanted !== mode) return;
    if (kind === "mesh") this.views.mesh.surfaces.show(mode);
    this.mode = mode;
    for (const id of ["splats", "mesh"]) byId(id).hidden = id !== kind;
    this.changed();
  }

  // What moves the face: splats that don't hang on the mesh cannot move.
  async showMove() {
    if (this.wanted !== "splats" || !this.about.rig) return this.showMesh();
    await this.view("rig");
    this.changed();
  }

  async showMesh() {
    if (this.wanted === "splats") await this.show("lit");
    else await this.view("mesh");
    this.changed();
  }

  place(pose) {
    const { enableDamping } = this.controls;
    this.controls.enableDamping = false;
    this.controls.update(); // ends what still coasts
    this.controls.enableDamping = enableDamping;
    placeCamera(this.camera, { ...findPlace(this.camera), ...pose });
    this.controls.update();
    this.changed();
  }

  // Turn by itself, for so many degrees.
  turn(degrees) {
    this.turning = degrees;
    this.controls.autoRotate = degrees > 0;
    this.changed();
  }

  // Where a point (metres) is seen, in pixels of the window.
  project(point) {
    const box = byId("view").getBoundingClientRect(), { x, y } = new THREE.Vector3(...point).project(this.camera);
    return [box.left + (x + 1) / 2 * box.width, box.top + (1 - y) / 2 * box.height];
  }

  setBackground(name) {
    this.background = name;
    this.picture = paintBackground(name);
    this.views.mesh?.setBackground(this.picture);
    this.changed();
  }

  setLight(light) {
    Object.assign(this.light, light);
    this.views.mesh?.studio.setLight(light);
    return this.showMesh();
  }

  weigh(names, value) {
    for (const name of names) this.face.wanted[name] = value;
    return this.showMove();
  }

  preset(name) {
    this.face.preset(name);
    return name === "photo" && this.wanted === "splats" ? this.changed() : this.showMove();
  }

  setIdle(on) {
    if (this.face) this.face.idle = byId("idle").checked = on;
    this.changed();
  }

  // The eyes look at the pointer, which floats before the screen's surface; without one, at the viewer.
  gaze() {
    if (!this.face) return this.changed();
    if (!byId("follow").checked) this.face.lookAhead();
    else {
      const { camera } = this, box = byId("view").getBoundingClientRect();
      const x = this.pointer ? 2 * (this.pointer.x - box.left) / box.width - 1 : 0;
      const y = this.pointer ? 1 - 2 * (this.pointer.y - box.top) / box.height : 0;
      const ray = new THREE.Vector3(x, y, 0.5).unproject(camera).sub(camera.position).normalize();
      const ahead = camera.getWorldDirection(new THREE.Vector3());
      const depth = this.pointer ? 0.6 * findPlace(camera).distance : 0;
      this.face.lookAt(camera.position.clone().addScaledVector(ray, depth / Math.max(ray.dot(ahead), 0.1)));
    }
    this.changed();
  }

  get shown() {
    return this.views[this.mode === "splats" ? "splats" : "mesh"];
  }

  changed() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame((now) => this.frame(now));
  }

  frame(now) {
    this.asked = false;
    if (!this.mode) return;
    const seconds = this.before ? Math.min((now - this.before) / 1000, 0.2) : 1 / 60, { face } = this;
    const lives = face !== null && (this.mode !== "splats" || this.views.splats.bound !== null);
    let moving = lives && face.step(Math.min(seconds, 0.1));
    if (this.turning > 0) this.turn(this.turning - AUTO * seconds);
    moving = this.controls.update(seconds) || moving;
    this.adapt(moving, seconds);
    const final = this.draw(this.coarse ? this.share : 1);
    this.before = moving ? now : 0;
    if (moving) this.changed();
    const endless = this.controls.autoRotate || (lives && (face.idle || face.talking));
    if (endless || (final && !moving && !this.coarse)) this.waiting.splice(0).forEach((finish) => finish());
  }

  // Fill the window, with `share` of the full resolution.
  draw(share) {
    const { clientWidth, clientHeight } = byId("view"), sharp = Math.min(devicePixelRatio || 1, SHARPEST) * share;
    const [width, height] = [clientWidth, clientHeight].map((side) => Math.max(Math.round(side * sharp), 1));
    fitCamera(this.camera, width, height);
    this.camera.updateMatrixWorld();
    this.shown.resize(width, height);
    return this.shown.draw(this.camera, { hurried: this.coarse && this.pace > SLOW });
  }

  // A slow machine moves smoothly at a coarser resolution, and rests at the full one.
  adapt(moving, seconds) {
    clearTimeout(this.rest);
    if (!moving) {
      this.coarse &&= this.share < 1;
      if (this.coarse) this.rest = setTimeout(() => { this.coarse = false; this.changed(); }, 150);
      return;
    }
    this.coarse = true;
    this.pace += 0.25 * (seconds - this.pace);
    if (this.pace > SLOW) this.share = Math.max(this.share * 0.85, COARSEST);
    else if (this.pace < FAST) this.share = Math.min(this.share * 1.05, 1);
  }

  settled() {
    return new Promise((finish) => {
      this.waiting.push(finish);
      this.changed();
    });
  }

  // What is shown, with its background.
  shoot() {
    this.draw(1); // read in the same task, before the browser clears it
    const { canvas } = this.shown, picture = document.createElement("canvas"), pen = picture.getContext("2d");
    Object.assign(picture, { width: canvas.width, height: canvas.height });
    pen.drawImage(this.picture, 0, 0, canvas.width, canvas.height);
    pen.drawImage(canvas, 0, 0);
    picture.toBlob((blob) => { if (blob) saveBlob(blob, fileName("png")); }, "image/png");
  }

  // Milliseconds of a picture, drawn and read back so that the graphics card has truly finished it.
  frameTime(pictures = 7) {
    const { gl } = this.shown, pixel = new Uint8Array(4), times = [];
    for (let i = 0; i <= pictures; i++) {
      const began = performance.now();
      this.draw(1);
      gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);
      if (i > 0) times.push(performance.now() - began);
    }
    return times.sort((a, b) => a - b)[times.length >> 1];
  }
}

function refuse(text) {
  byId("sorry").textContent = text;
  byId("sorry").hidden = false;
  for (const id of ["tools", "help", "panel", "wait"]) byId(id).hidden = true;
  document.querySelector("main").classList.add("folded");
}

function open() {
  if (!window.DecompressionStream || !document.createElement("canvas").getContext("webgl2")) {
    refuse("This page needs WebGL 2, which this browser does not support or has disabled. "
      + "Please open it in a current version of Firefox, Chrome, Edge or Safari.");
    return;
  }
  const page = new Page(JSON.parse(byId("about").textContent));
  const ready = page.start().catch((error) => {
    refuse("The head could not be shown. See the browser's console for the reason.");
    throw error;
  });
  const settle = async (done) => { await done; await page.settled(); };
  window.portrait360 = {
    ready,
    face: () => page.face,
    splats: () => page.views.splats.splats,
    mode: () => page.mode,
    project: (point) => page.project(point),
    pose: () => findPlace(page.camera),
    settled: () => page.settled(),
    setPose: (pose) => settle(page.place(pose)),
    turn: (degrees) => page.turn(degrees),
    setMode: (mode) => settle(page.show(mode)),
    setWeights: (weights) => {
      return settle(Promise.all(Object.keys(weights).map((name) => page.tools.weigh([name], weights[name]))));
    },
    setIdle: (on) => settle(page.setIdle(on)),
    preset: (name) => settle(page.tools.preset(name)),
    frameTime: (pictures) => page.frameTime(pictures),
  };
}

open();
