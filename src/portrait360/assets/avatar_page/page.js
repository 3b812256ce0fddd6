// The page: it draws when something changed, and only then.

const COARSEST = 0.4; // of the full resolution, while a slow machine moves
const SLOW = 1 / 25, FAST = 1 / 45; // seconds a picture: between them the resolution stays
const TURN = 10; // degrees of an arrow key

const byId = (id) => document.getElementById(id);

class Page {
  constructor(about) {
    this.about = about;
    this.calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.studio = new Studio(byId("view"));
    this.controls = new THREE.OrbitControls(this.studio.camera, byId("view"));
    Object.assign(this.controls, {
      enablePan: false, enableDamping: !this.calm, dampingFactor: 0.1, minDistance: 0.45, maxDistance: 4,
      minPolarAngle: 0.2, maxPolarAngle: Math.PI - 0.5, rotateSpeed: 0.8,
    });
    this.controls.touches.TWO = 3; // zoom and turn
    this.controls.target.set(0, TARGET_HEIGHT, 0);
    Object.assign(this, { asked: false, before: 0, pace: 1 / 30, share: 1, coarse: false, waiting: [] });
    this.pointer = null; // where it is in the window
  }

  async start() {
    this.bytes = await unpackGlb(byId("glb").textContent);
    const { scene } = await readGlb(this.bytes);
    const meshes = [];
    scene.traverse((mesh) => { if (mesh.isMesh) meshes.push(mesh); });
    for (const mesh of meshes) Object.assign(mesh, { frustumCulled: false, castShadow: true, receiveShadow: true });
    this.studio.scene.add(scene);
    this.surfaces = new Surfaces(meshes, this.studio);
    this.face = new Face(scene, this.calm);
    this.listen();
    this.setIdle(!this.calm);
    this.gaze();
    await this.settled();
  }

  listen() {
    const changed = () => this.changed();
    this.panel = new Panel(this.face, { weigh: (names, value) => this.weigh(names, value) });
    this.disc = new LightDisc(byId("disc"), this.studio, changed);
    this.controls.addEventListener("change", () => this.gaze());
    this.controls.addEventListener("start", () => byId("help").classList.add("gone"));
    new ResizeObserver(changed).observe(byId("view"));
    byId("view").addEventListener("dblclick", () => this.reset());
    byId("view").addEventListener("webglcontextrestored", () => { this.studio.reflect(); changed(); });
    byId("strength").addEventListener("input", (event) => {
      this.studio.setLight({ strength: Number(event.target.value) });
      changed();
    });
    byId("presets").addEventListener("click", (event) => this.preset(event.target.dataset.preset));
    byId("modes").addEventListener("change", (event) => this.setMode(event.target.value));
    byId("follow").addEventListener("change", () => this.gaze());
    byId("idle").addEventListener("change", (event) => this.setIdle(event.target.checked));
    addEventListener("pointermove", (event) => this.point(event));
    document.documentElement.addEventListener("pointerleave", () => { this.pointer = null; this.gaze(); });
    document.addEventListener("fullscreenchange", () => press("full", document.fullscreenElement));
    this.listenToTools();
  }

  listenToTools() {
    const keys = { p: "compare", b: "background", s: "shot", f: "full", c: "fold" };
    const tools = {
      compare: () => this.showPhoto(byId("photo").hidden),
      background: () => { this.studio.nextBackground(); this.changed(); },
      shot: () => this.shoot(),
      save: () => saveBlob(new Blob([this.bytes], { type: "model/gltf-binary" }), fileName("glb")),
      full: () => goFullScreen(),
      fold: () => this.fold(),
    };
    for (const name in tools) byId(name).addEventListener("click", tools[name]);
    byId("full").hidden = !document.fullscreenEnabled;
    byId("compare").hidden = !this.about.photo;
    if (this.about.photo) byId("photo").querySelector("img").src = this.about.photo;
    byId("match").addEventListener("click", () => this.place({ ...HOME, ...this.about.camera }));
    addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input, summary")) return;
      const tool = tools[keys[event.key.toLowerCase()]];
      if (tool && !byId(keys[event.key.toLowerCase()]).hidden) tool();
      else this.turnByKey(event);
    });
  }

  turnByKey(event) {
    if (event.target !== byId("view") && event.target !== document.body) return;
    const pose = this.pose();
    if (event.key === "ArrowLeft") pose.azimuth -= TURN;
    else if (event.key === "ArrowRight") pose.azimuth += TURN;
    else if (event.key === "ArrowUp") pose.elevation = Math.min(pose.elevation + TURN, 70);
    else if (event.key === "ArrowDown") pose.elevation = Math.max(pose.elevation - TURN, -55);
    else if (event.key === "+" || event.key === "=") pose.distance = Math.max(pose.distance / 1.12, 0.45);
    else if (event.key === "-") pose.distance = Math.min(pose.distance * 1.12, 4);
    else if (event.key.toLowerCase() === "r") Object.assign(pose, HOME);
    else return;
    event.preventDefault();
    this.place(pose);
  }

  pose() {
    const { x, y, z } = this.studio.camera.position.clone().sub(this.controls.target), distance = Math.hypot(x, y, z);
    return { azimuth: Math.atan2(x, z) / RADIANS, elevation: Math.asin(y / distance) / RADIANS, distance };
  }

  place(pose) {
    this.studio.placeCamera({ ...this.pose(), ...pose });
    this.controls.update();
    this.changed();
  }

  // Where a point (metres) is seen, in pixels of the window.
  project(point) {
    const { camera } = this.studio, box = byId("view").getBoundingClientRect();
    const { x, y } = new THREE.Vector3(...point).project(camera);
    return [box.left + (x + 1) / 2 * box.width, box.top + (1 - y) / 2 * box.height];
  }

  reset() {
    this.place(HOME);
  }

  weigh(names, value) {
    for (const name of names) this.face.wanted[name] = value;
    this.panel.update();
    this.mark(null);
    this.changed();
  }

  preset(name) {
    if (!name) return;
    this.face.preset(name);
    this.panel.update();
    press("talk", this.face.talking);
    if (name !== "blink" && name !== "talk") this.mark(name);
    this.changed();
  }

  mark(name) {
    for (const button of byId("presets").children) {
      const { preset } = button.dataset;
      if (preset !== "blink") button.ariaPressed = String(preset === "talk" ? this.face.talking : preset === name);
    }
  }

  setMode(mode) {
    if (!["lit", "clay", "normals", "wireframe"].includes(mode)) throw new TypeError(`no surface ${mode}`);
    this.surfaces.show(mode);
    document.querySelector(`#modes [value="${mode}"]`).checked = true;
    this.changed();
  }

  setIdle(on) {
    this.face.idle = byId("idle").checked = on;
    this.changed();
  }

  point(event) {
    this.pointer = event.pointerType === "touch" ? null : { x: event.clientX, y: event.clientY };
    this.gaze();
  }

  // The eyes look at the pointer, which floats before the screen's surface; without one, at the viewer.
  gaze() {
    if (!byId("follow").checked) this.face.lookAhead();
    else {
      const { camera } = this.studio, box = byId("view").getBoundingClientRect();
      const x = this.pointer ? 2 * (this.pointer.x - box.left) / box.width - 1 : 0;
      const y = this.pointer ? 1 - 2 * (this.pointer.y - box.top) / box.height : 0;
      const ray = new THREE.Vector3(x, y, 0.5).unproject(camera).sub(camera.position).normalize();
      const ahead = camera.getWorldDirection(new THREE.Vector3());
      const depth = this.pointer ? 0.6 * this.pose().distance : 0;
      this.face.lookAt(camera.position.clone().addScaledVector(ray, depth / Math.max(ray.dot(ahead), 0.1)));
    }
    this.changed();
  }

  showPhoto(on) {
    byId("photo").hidden = !on;
    press("compare", on);
  }

  fold() {
    const folded = document.querySelector("main").classList.toggle("folded");
    byId("fold").setAttribute("aria-expanded", String(!folded));
    this.changed();
  }

  shoot() {
    this.studio.resize(1);
    this.surfaces.draw(); // read in the same task, before the browser clears it
    byId("view").toBlob((blob) => { if (blob) saveBlob(blob, fileName("png")); }, "image/png");
  }

  changed() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame((now) => this.frame(now));
  }

  frame(now) {
    this.asked = false;
    const seconds = this.before ? Math.min((now - this.before) / 1000, 0.2) : 1 / 60;
    let moving = this.face.step(Math.min(seconds, 0.1));
    moving = this.controls.update() || moving;
    this.adapt(moving, seconds);
    this.studio.renderer.shadowMap.autoUpdate = !this.coarse || this.pace < SLOW; // shadows wait for slow machines
    this.studio.resize(this.coarse ? this.share : 1);
    this.surfaces.draw();
    this.before = moving ? now : 0;
    if (moving) this.changed();
    if (!moving || this.face.idle || this.face.talking) this.waiting.splice(0).forEach((finish) => finish());
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

  // Milliseconds of a picture, drawn and read back so that the graphics card has truly finished it.
  frameTime(pictures = 7) {
    const gl = this.studio.renderer.getContext(), pixel = new Uint8Array(4), times = [];
    for (let i = 0; i <= pictures; i++) {
      const began = performance.now();
      this.surfaces.draw();
      gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);
      if (i > 0) times.push(performance.now() - began);
    }
    return times.sort((a, b) => a - b)[times.length >> 1];
  }
}

function press(name, value) {
  const button = byId(name) ?? document.querySelector(`[data-preset="${name}"]`);
  button.setAttribute("aria-pressed", String(Boolean(value)));
}

function goFullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else document.documentElement.requestFullscreen?.().catch(() => {}); // the browser may refuse; nothing is lost
}

function refuse(text) {
  byId("sorry").textContent = text;
  byId("sorry").hidden = false;
  for (const id of ["tools", "help", "panel"]) byId(id).hidden = true;
  document.querySelector("main").classList.add("folded");
}

function open() {
  if (!window.DecompressionStream || !document.createElement("canvas").getContext("webgl2")) {
    refuse("This head is drawn with WebGL 2, which this browser lacks or has switched off. "
      + "Please open the page in a current Firefox, Chrome, Edge or Safari.");
    return;
  }
  const page = new Page(JSON.parse(byId("about").textContent));
  const ready = page.start().catch((error) => {
    refuse("This head could not be drawn; the browser's console says why.");
    throw error;
  });
  window.portrait360 = {
    ready,
    face: () => page.face,
    project: (point) => page.project(point),
    pose: () => page.pose(),
    settled: () => page.settled(),
    setPose: (pose) => { page.place(pose); return page.settled(); },
    setMode: (mode) => { page.setMode(mode); return page.settled(); },
    setWeights: (weights) => {
      for (const name in weights) page.weigh([name], weights[name]);
      return page.settled();
    },
    setIdle: (on) => { page.setIdle(on); return page.settled(); },
    preset: (name) => { page.preset(name); return page.settled(); },
    frameTime: (pictures) => page.frameTime(pictures),
  };
}

open();
