// 3D Gaussians: projected (EWA, Zwicker et al. 2001) and blended as in Kerbl et al. 2023.
// Colours are sRGB values blended as they are, not as light: so splats are fitted, and so other viewers show them.

const ROW = 512; // splats in a row of the table and of the slopes, three texels each, and of the order, one each

const METRES = 0.24 / 0.46; // of a unit of the splats
const NEAR = 0.01;
const STILL = { lift: 0, turn: Array(9).fill(0), neck: [0, 0, 0] }; // how the head sways
const EYE = ["view", "shift", "focal", "size", "sway", "neck"];
const DEEPEST = 16; // depth that is kept of the skin
const BEHIND = [2e-3 / METRES, 4e-3 / METRES]; // depths behind the skin between which what lies inside disappears
const GONE = -0.6, WHOLE = -0.46; // heights between which a bust fades: it is cut off at -.62, below any framed view

// Splats have x right, y down, z forward; `focal` is in pixels, so pixels are square in any window.
const SPLAT_VERTEX = `#version 300 es
precision highp float;
precision highp usampler2D;
uniform mat3 view;
uniform vec3 shift;
uniform mat3 sway; // of the head, about the neck, less the identity
uniform vec3 neck;
uniform float focal;
uniform vec2 size;
uniform usampler2D table, order;
uniform highp sampler2D skin; // its depths
uniform highp sampler2D slopes; // of colours over x, y and z of the direction in which one sees them
uniform float steepest; // 0 for none
flat out vec4 colour;
out vec2 offset;
float kept(vec3 place) { return smoothstep(${GONE}, ${WHOLE}, place.y); }
vec3 seen(vec3 place) { return view * place + shift; }

void main() {
  int turn = gl_VertexID >> 2;
  uint index = texelFetch(order, ivec2(turn % ${ROW}, turn / ${ROW}), 0).x;
  vec2 corner = vec2(gl_VertexID & 1, (gl_VertexID >> 1) & 1) * 2.0 - 1.0;
  ivec2 at = ivec2(int(index % ${ROW}u) * 3, int(index / ${ROW}u));
  uvec4 first = texelFetch(table, at, 0);
  vec4 a = uintBitsToFloat(texelFetch(table, at + ivec2(1, 0), 0)); // and how far it follows the head
  vec4 b = uintBitsToFloat(texelFetch(table, at + ivec2(2, 0), 0)); // and whether it lies inside
  uvec4 rgba = (uvec4(first.w) >> uvec4(0, 8, 16, 24)) & 255u;
  colour = vec4(rgba) / 255.0;
  colour.a *= kept(uintBitsToFloat(first.xyz));
  vec3 place = uintBitsToFloat(first.xyz);
  place = seen(place + a.w * (sway * (place - neck)));
  if (place.z < ${NEAR} || colour.a < 1.0 / 255.0) { gl_Position = vec4(0, 0, 2, 1); return; }
  if (b.w > 0.5) {
    ivec2 spot = ivec2(clamp(0.5 * size + focal * place.xy / place.z * vec2(1, -1), vec2(0), size - 1.0));
    colour.a *= 1.0 - smoothstep(${BEHIND}, place.z - ${DEEPEST}.0 * texelFetch(skin, spot, 0).x);
    if (colour.a < 1.0 / 255.0) { gl_Position = vec4(0, 0, 2, 1); return; }
  }

  if (steepest > 0.0) {
    vec3 direction = normalize(place) * view;
    direction += a.w * (direction * sway); // as the head sees it
    for (int i = 0; i < 3; i++) colour.rgb += steepest * direction[i] * texelFetch(slopes, at + ivec2(i, 0), 0).rgb;
    colour.rgb = max(colour.rgb, 0.0);
  }

  // Beside the image the projection's slope grows without bound; it is held as where splats are fitted.
  vec2 limit = 0.65 * size / focal;
  vec2 slope = clamp(place.xy / place.z, -limit, limit);
  mat3x2 jacobian = focal / place.z * mat3x2(1, 0, 0, 1, -slope);
  mat3x2 across = jacobian * view;
  mat3 covariance = mat3(a.x, a.y, a.z, a.y, b.x, b.y, a.z, b.y, b.z);
  mat2 flat2 = across * covariance * transpose(across);
  float xx = flat2[0][0] + 0.3, yy = flat2[1][1] + 0.3, xy = flat2[0][1]; // the low-pass of a pixel

  // Axes of the ellipse; the quad ends where opacity falls below 1/255.
  float middle = 0.5 * (xx + yy), spread = length(vec2(0.5 * (xx - yy), xy));
  float angle = spread < 1e-6 ? 0.0 : 0.5 * atan(2.0 * xy, xx - yy);
  vec2 axis = vec2(cos(angle), sin(angle));
  offset = corner * sqrt(2.0 * log(255.0 * colour.a) + 1e-3);
  vec2 moved = axis * offset.x * sqrt(middle + spread)
    + vec2(-axis.y, axis.x) * offset.y * sqrt(max(middle - spread, 0.1));
  gl_Position = vec4(2.0 / size * (focal * place.xy / place.z + moved) * vec2(1, -1), 0, 1);
}`;

const SPLAT_FRAGMENT = `#version 300 es
precision highp float;
flat in vec4 colour;
in vec2 offset;
out vec4 pixel;
void main() {
  float alpha = min(0.99, colour.a * exp(-0.5 * dot(offset, offset)));
  if (alpha < 1.0 / 255.0) discard;
  pixel = vec4(colour.rgb * alpha, alpha);
}`;

function compile(gl, vertex, fragment) {
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
    const logs = gl.getAttachedShaders(program).map((shader) => gl.getShaderInfoLog(shader));
    throw new Error([gl.getProgramInfoLog(program), ...logs].join("\n"));
  }
  return program;
}

function findPlaces(gl, program, names) {
  return Object.fromEntries(names.map((name) => [name, gl.getUniformLocation(program, name)]));
}

// From where one looks, and how the head sways.
function placeEye(gl, places, { view, shift, focal, size, turn, neck }) {
  gl.uniformMatrix3fv(places.view, true, view);
  gl.uniform3fv(places.shift, shift);
  gl.uniformMatrix3fv(places.sway, false, turn);
  gl.uniform3fv(places.neck, neck);
  gl.uniform1f(places.focal, focal);
  gl.uniform2fv(places.size, size);
}

class SplatLayer {
  constructor(gl, splats, changed) {
    this.gl = gl;
    this.count = splats.count;
    this.program = compile(gl, SPLAT_VERTEX, SPLAT_FRAGMENT);
    this.places = findPlaces(gl, this.program, [...EYE, "table", "order", "skin", "slopes", "steepest"]);
    this.rows = Math.ceil(splats.count / ROW);
    this.table = this.texture(gl.RGBA32UI, 3 * ROW);
    this.order = this.texture(gl.R32UI, ROW);
    this.slopes = splats.slopes && this.fillSlopes(splats.slopes);
    this.bits = new Uint32Array(ROW * this.rows * 12);
    this.splats = splats;
    this.upload(0, splats.count);
    this.moved = false; // since they were sorted
    this.sortNow = makeSorter(splats.means, ROW * this.rows);
    this.asked = [0, 0, 0];
    this.busy = false;
    this.sortTime = 0;
    this.changed = changed;
    this.worker = this.employ(splats.means);
    this.state = this.corners();
  }

  // Without a worker (some browsers refuse one to a page opened from a folder) the page sorts itself.
  employ(means) {
    try {
      const worker = startWorker(means, ROW * this.rows);
      worker.onmessage = ({ data }) => this.take(data.order, data.milliseconds);
      worker.onerror = () => { this.worker = null; this.busy = false; this.asked = [0, 0, 0]; this.changed(); };
      return worker;
    } catch {
      return null;
    }
  }

  // Write the table's rows with the splats from `first` to before `end`.
  upload(first, end) {
    const { gl, bits, splats: { count, means, covariances, colours, shares, inside } } = this;
    const row = Math.floor(first / ROW), rows = Math.ceil(Math.min(end, count) / ROW) - row;
    const floats = new Float32Array(bits.buffer), rgba = new Uint8Array(bits.buffer);
    for (let n = first; n < end; n++) {
      const at = 12 * n;
      for (let i = 0; i < 3; i++) {
        floats[at + i] = means[3 * n + i];
        floats[at + 4 + i] = covariances[6 * n + i];
        floats[at + 8 + i] = covariances[6 * n + 3 + i];
      }
      for (let i = 0; i < 4; i++) rgba[4 * at + 12 + i] = colours[4 * n + i];
      floats[at + 7] = shares ? shares[n] / 255 : 1;
      floats[at + 11] = inside && n >= inside[0] && n < inside[1] ? 1 : 0;
    }
    const part = bits.subarray(12 * ROW * row, 12 * ROW * (row + rows));
    gl.bindTexture(gl.TEXTURE_2D, this.table);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, row, 3 * ROW, rows, gl.RGBA_INTEGER, gl.UNSIGNED_INT, part);
  }

  // They stay as they are when splats move.
  fillSlopes(slopes) {
    const { gl } = this, texture = this.texture(gl.RGB8_SNORM, 3 * ROW), padded = new Int8Array(9 * ROW * this.rows);
    padded.set(slopes);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, 3 * ROW, this.rows, gl.RGB, gl.BYTE, padded);
    return texture;
  }

  texture(format, width) {
    const { gl } = this, texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texStorage2D(gl.TEXTURE_2D, 1, format, width, this.rows);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    return texture;
  }

  // One draw of many small quads: a software renderer takes six times as long for as many instances of a quad.
  corners() {
    const { gl } = this, state = gl.createVertexArray();
    const indices = new Uint32Array(6 * this.count);
    for (let n = 0; n < this.count; n++) {
      indices.set([4 * n, 4 * n + 1, 4 * n + 2, 4 * n + 2, 4 * n + 1, 4 * n + 3], 6 * n);
    }
    gl.bindVertexArray(state);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, indices, gl.STATIC_DRAW);
    gl.bindVertexArray(null);
    return state;
  }

  take(order, milliseconds) {
    const { gl } = this;
    this.busy = false;
    this.sortTime = milliseconds;
    gl.bindTexture(gl.TEXTURE_2D, this.order);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, ROW, this.rows, gl.RED_INTEGER, gl.UNSIGNED_INT, order);
    this.changed();
  }

  // Splats from `first` to before `end` are elsewhere now.
  move([first, end]) {
    this.upload(first, end);
    this.moved = true;
  }

  // True when the order is already that of this direction.
  sort(forward) {
    const first = this.asked.every((value) => value === 0);
    if (!this.moved && forward.every((value, i) => value === this.asked[i])) return !this.busy;
    if (this.busy) return false;
    const { moved, splats: { means, bound } } = this;
    this.moved = false;
    this.asked = forward;
    if (first || !this.worker) { // the first picture shall not wait
      const began = performance.now();
      this.take(this.sortNow(...forward), performance.now() - began);
      return true;
    }
    this.busy = true;
    this.worker.postMessage([...forward, moved ? means.slice(0, 3 * bound) : null]);
    return false;
  }

  // True when the picture is final for its camera.
  draw(camera, size, { lift, turn, neck } = STILL, bound = null) {
    const { gl, places } = this, axes = camera.matrixWorld.elements;
    const forward = [-axes[8], -axes[9], -axes[10]];
    const sorted = this.sort(forward);
    const rows = [axes[0], axes[1], axes[2], -axes[4], -axes[5], -axes[6], ...forward];
    const { x, z } = camera.position, y = camera.position.y - lift * METRES; // all of it rises as the shoulders do
    const shift = [0, 3, 6].map((i) => -(rows[i] * x + rows[i + 1] * y + rows[i + 2] * z) / METRES);
    const focal = 0.5 * size[1] / Math.tan(camera.fov / 2 * RADIANS), eye = { view: rows, shift, focal, size, turn, neck };
    if (bound?.open) (this.skin ??= new SkinDepth(gl, bound.mesh)).draw(bound.last, eye);
    gl.useProgram(this.program);
    placeEye(gl, places, eye);
    gl.uniform1f(places.steepest, this.splats.steepest);
    const textures = { table: this.table, order: this.order, skin: this.skin?.texture ?? null, slopes: this.slopes };
    Object.entries(textures).forEach(([name, texture], unit) => {
      gl.uniform1i(places[name], unit);
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, texture);
    });
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.bindVertexArray(this.state);
    gl.drawElements(gl.TRIANGLES, 6 * this.count, gl.UNSIGNED_INT, 0);
    gl.bindVertexArray(null);
    return sorted;
  }

  drop() {
    this.worker?.terminate();
  }
}
