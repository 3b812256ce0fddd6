// 3D Gaussians: projected (EWA, Zwicker et al. 2001) and blended as in Kerbl et al. 2023.
// Colours are sRGB values blended as they are, not as light: so splats are fitted, and so other viewers show them.

const ROW = 512; // splats in a row of the table, three texels each

const SPLAT_VERTEX = `
precision highp usampler2D;
uniform usampler2D table;
in vec2 corner;
in uint index;
flat out vec4 colour;
out vec2 offset;

void main() {
  ivec2 at = ivec2(int(index % ${ROW}u) * 3, int(index / ${ROW}u));
  uvec4 first = texelFetch(table, at, 0);
  vec3 a = uintBitsToFloat(texelFetch(table, at + ivec2(1, 0), 0).xyz);
  vec3 b = uintBitsToFloat(texelFetch(table, at + ivec2(2, 0), 0).xyz);
  uvec4 rgba = (uvec4(first.w) >> uvec4(0, 8, 16, 24)) & 255u;
  colour = vec4(rgba) / 255.0;
  colour.a *= kept(uintBitsToFloat(first.xyz));
  vec3 place = seen(uintBitsToFloat(first.xyz));
  if (place.z < ${NEAR} || colour.a < 1.0 / 255.0) { gl_Position = vec4(0, 0, 2, 1); return; }

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
  vec4 centre = clip(place);
  gl_Position = centre / centre.w + vec4(2.0 * moved / size * vec2(1, -1), 0, 0);
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

class SplatLayer {
  constructor(gl, splats, changed) {
    this.gl = gl;
    this.count = splats.count;
    this.program = compile(gl, SPLAT_VERTEX, SPLAT_FRAGMENT);
    this.table = this.upload(splats);
    this.sortNow = makeSorter(splats.means);
    this.asked = [0, 0, 0];
    this.busy = false;
    this.sortTime = 0;
    this.changed = changed;
    this.worker = this.employ(splats.means);
    this.bind();
  }

  // Without a worker (some browsers refuse one to a page opened from a folder) the page sorts itself.
  employ(means) {
    try {
      const worker = startWorker(means);
      worker.onmessage = ({ data }) => this.take(data.order, data.milliseconds);
      worker.onerror = () => { this.worker = null; this.busy = false; this.asked = [0, 0, 0]; this.changed(); };
      return worker;
    } catch {
      return null;
    }
  }

  upload({ count, means, covariances, colours }) {
    const { gl } = this;
    const rows = Math.ceil(count / ROW);
    const bits = new Uint32Array(ROW * rows * 12), floats = new Float32Array(bits.buffer);
    const rgba = new Uint8Array(bits.buffer);
    for (let n = 0; n < count; n++) {
      floats.set(means.subarray(3 * n, 3 * n + 3), 12 * n);
      rgba.set(colours.subarray(4 * n, 4 * n + 4), 48 * n + 12);
      floats.set(covariances.subarray(6 * n, 6 * n + 3), 12 * n + 4);
      floats.set(covariances.subarray(6 * n + 3, 6 * n + 6), 12 * n + 8);
    }
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA32UI, 3 * ROW, rows, 0, gl.RGBA_INTEGER, gl.UNSIGNED_INT, bits);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    return texture;
  }

  bind() {
    const { gl } = this, { program } = this.program;
    this.state = gl.createVertexArray();
    gl.bindVertexArray(this.state);
    buffer(gl, gl.ARRAY_BUFFER, new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]));
    const corner = gl.getAttribLocation(program, "corner"), index = gl.getAttribLocation(program, "index");
    gl.enableVertexAttribArray(corner);
    gl.vertexAttribPointer(corner, 2, gl.FLOAT, false, 0, 0);
    this.order = buffer(gl, gl.ARRAY_BUFFER, 4 * this.count, gl.DYNAMIC_DRAW);
    gl.enableVertexAttribArray(index);
    gl.vertexAttribIPointer(index, 1, gl.UNSIGNED_INT, 0, 0);
    gl.vertexAttribDivisor(index, 1);
    gl.bindVertexArray(null);
  }

  take(order, milliseconds) {
    const { gl } = this;
    this.busy = false;
    this.sortTime = milliseconds;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.order);
    gl.bufferSubData(gl.ARRAY_BUFFER, 0, order);
    this.changed();
  }

  // True when the order is already that of this direction.
  sort(forward) {
    const first = this.asked.every((value) => value === 0);
    if (forward.every((value, i) => value === this.asked[i])) return !this.busy;
    if (this.busy) return false;
    this.asked = forward;
    if (first || !this.worker) { // the first picture shall not wait
      const began = performance.now();
      this.take(this.sortNow(...forward), performance.now() - began);
      return true;
    }
    this.busy = true;
    this.worker.postMessage(forward);
    return false;
  }

  draw(camera, width, height) {
    const { gl } = this;
    const sorted = this.sort(camera.axes().slice(6));
    useCamera(gl, this.program, camera, width, height);
    gl.bindTexture(gl.TEXTURE_2D, this.table);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.bindVertexArray(this.state);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, this.count);
    gl.bindVertexArray(null);
    gl.disable(gl.BLEND);
    return sorted;
  }

  drop() {
    this.worker?.terminate();
  }
}
