// How deep the skin lies in a picture. Splats of skin have gaps, as under a beard; the mesh has none: so it says what of
// the inside of mouth and eyes is seen.

const SKIN_VERTEX = `#version 300 es
precision highp float;
uniform mat3 view, sway;
uniform vec3 shift, neck;
uniform float focal;
uniform vec2 size;
in vec3 place;
void main() {
  vec3 at = view * (place + sway * (place - neck)) + shift;
  gl_Position = vec4(2.0 / size * focal * at.xy * vec2(1, -1), (2.0 * at.z / ${DEEPEST}.0 - 1.0) * at.z, at.z);
}`;

const SKIN_FRAGMENT = `#version 300 es
void main() {}`;

class SkinDepth {
  constructor(gl, mesh) {
    Object.assign(this, { gl, size: [0, 0], texture: null, frame: gl.createFramebuffer() });
    this.program = compile(gl, SKIN_VERTEX, SKIN_FRAGMENT);
    this.places = findPlaces(gl, this.program, EYE);
    const corners = mesh.triangles.filter((_, i) => mesh.triangles[i - i % 3] < mesh.skin);
    this.count = corners.length;
    this.points = gl.createBuffer();
    this.state = gl.createVertexArray();
    gl.bindVertexArray(this.state);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.points);
    const at = gl.getAttribLocation(this.program, "place");
    gl.enableVertexAttribArray(at);
    gl.vertexAttribPointer(at, 3, gl.FLOAT, false, 0, 0);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, corners, gl.STATIC_DRAW);
    gl.bindVertexArray(null);
  }

  resize(width, height) {
    const { gl, size } = this;
    if (size[0] === width && size[1] === height) return;
    if (this.texture) gl.deleteTexture(this.texture);
    this.size = [width, height];
    this.texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    gl.texStorage2D(gl.TEXTURE_2D, 1, gl.DEPTH_COMPONENT24, width, height);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.frame);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.DEPTH_ATTACHMENT, gl.TEXTURE_2D, this.texture, 0);
    gl.drawBuffers([gl.NONE]);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
  }

  // Draw the skin with its vertices at these points, as `eye` sees it.
  draw(points, eye) {
    const { gl } = this;
    this.resize(...eye.size);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.frame);
    gl.useProgram(this.program);
    placeEye(gl, this.places, eye);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.points);
    gl.bufferData(gl.ARRAY_BUFFER, points, gl.DYNAMIC_DRAW);
    gl.disable(gl.BLEND);
    gl.enable(gl.DEPTH_TEST);
    gl.clear(gl.DEPTH_BUFFER_BIT);
    gl.bindVertexArray(this.state);
    gl.drawElements(gl.TRIANGLES, this.count, gl.UNSIGNED_INT, 0);
    gl.bindVertexArray(null);
    gl.disable(gl.DEPTH_TEST);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
  }
}
