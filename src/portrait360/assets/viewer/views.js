// What the two kinds of heads are drawn by: splats as they are, meshes by three.js. Each has a canvas of its own, as
// smooth edges of meshes need samples, for which splats would pay too.

class SplatView {
  constructor(canvas, splats, changed) {
    Object.assign(this, { canvas, splats, changed, bound: null, face: null });
    this.gl = canvas.getContext("webgl2", { antialias: false, depth: false, powerPreference: "high-performance" });
    if (!this.gl) throw new Error("no WebGL 2");
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => { this.build(); changed(); });
    this.build();
  }

  build() {
    this.layer?.drop();
    this.layer = new SplatLayer(this.gl, this.splats, this.changed);
  }

  // Move these splats with the face from now on.
  attach(bound, face) {
    Object.assign(this, { bound, face });
    Object.assign(this.splats, { bound: bound.count, inside: bound.inside, shares: bound.shares });
    this.layer.upload(0, this.splats.count);
    face.bind(bound.mesh);
  }

  resize(width, height) {
    const { canvas } = this;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  }

  // True when the picture is final. What it leaves clear shows the background behind it.
  draw(camera) {
    const { gl, canvas: { width, height } } = this;
    if (gl.isContextLost()) return false;
    gl.viewport(0, 0, width, height);
    gl.clear(gl.COLOR_BUFFER_BIT);
    if (!this.bound) return this.layer.draw(camera, [width, height]);
    const { bound, face } = this;
    const range = bound.follow((name, turns) => face.weigh(name, turns), face.gaze);
    if (range) this.layer.move(range);
    return this.layer.draw(camera, [width, height], { ...face.sway, neck: bound.mesh.pivot }, bound);
  }

  setBackground() {} // it is behind the canvas
}

class MeshView {
  constructor(canvas, root, { background, light, changed }) {
    this.canvas = canvas;
    this.studio = new Studio(canvas, background, light, root.userData.light);
    const meshes = [];
    root.traverse((mesh) => { if (mesh.isMesh) meshes.push(mesh); });
    for (const mesh of meshes) { // cards of hair know their own shade; shadows of single cards make them ragged
      const isHair = mesh.material.alphaTest > 0;
      Object.assign(mesh, { frustumCulled: false, castShadow: true, receiveShadow: !isHair });
    }
    this.studio.scene.add(root);
    this.surfaces = new Surfaces(meshes, this.studio);
    this.gl = this.studio.renderer.getContext();
    canvas.addEventListener("webglcontextrestored", () => { this.studio.reflect(); changed(); });
  }

  resize(width, height) {
    const { canvas, studio: { renderer } } = this;
    if (canvas.width !== width || canvas.height !== height) renderer.setSize(width, height, false);
  }

  draw(camera, { hurried = false } = {}) {
    this.studio.renderer.shadowMap.autoUpdate = !hurried; // shadows wait for slow machines
    this.surfaces.draw(camera);
    return true;
  }

  setBackground(picture) {
    this.studio.setBackground(picture);
  }
}

const BACKGROUNDS = { grey: ["#85888c", "#4b4d50"], light: ["#ffffff", "#dcdcdc"], dark: ["#303236", "#121315"] };

function paintBackground(name) {
  const [top, bottom] = BACKGROUNDS[name];
  const picture = Object.assign(document.createElement("canvas"), { width: 2, height: 256 });
  const pen = picture.getContext("2d"), fade = pen.createLinearGradient(0, 0, 0, 256);
  fade.addColorStop(0, top);
  fade.addColorStop(1, bottom);
  pen.fillStyle = fade;
  pen.fillRect(0, 0, 2, 256);
  byId("view").style.background = `linear-gradient(${top}, ${bottom})`;
  return picture;
}
