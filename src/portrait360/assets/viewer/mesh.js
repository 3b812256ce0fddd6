// The textured mesh, unlit: the texture holds the photo's light.

const MESH_VERTEX = `
in vec3 place;
in vec2 uv;
out vec2 at;
out float share;
void main() {
  at = uv;
  share = kept(place);
  gl_Position = clip(seen(place));
}`;

const MESH_FRAGMENT = `#version 300 es
precision highp float;
uniform sampler2D picture;
uniform float ground;
in vec2 at;
in float share;
out vec4 pixel;
void main() { pixel = vec4(mix(vec3(ground), texture(picture, at).rgb, share), 1); }`;

class MeshLayer {
  // `picture` is decoded already.
  constructor(gl, mesh, picture) {
    this.gl = gl;
    this.program = compile(gl, MESH_VERTEX, MESH_FRAGMENT);
    this.count = mesh.triangles.length;
    this.kind = mesh.triangles instanceof Uint16Array ? gl.UNSIGNED_SHORT : gl.UNSIGNED_INT;
    this.texture = this.upload(picture);
    this.bind(mesh);
    this.target = gl.createFramebuffer();
    this.pixels = gl.createRenderbuffer();
    this.depth = gl.createRenderbuffer();
    this.size = [0, 0];
  }

  upload(picture) {
    const { gl } = this;
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE); // sRGB in, sRGB out
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE, picture);
    gl.generateMipmap(gl.TEXTURE_2D);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
    const sharper = gl.getExtension("EXT_texture_filter_anisotropic"); // else grazing cheeks are blurred
    if (sharper) gl.texParameteri(gl.TEXTURE_2D, sharper.TEXTURE_MAX_ANISOTROPY_EXT, 4);
    return texture;
  }

  bind({ places, uv, triangles }) {
    const { gl } = this, { program } = this.program;
    this.state = gl.createVertexArray();
    gl.bindVertexArray(this.state);
    for (const [name, values, width, kind] of [["place", places, 3, gl.FLOAT], ["uv", uv, 2, gl.UNSIGNED_SHORT]]) {
      const where = gl.getAttribLocation(program, name);
      buffer(gl, gl.ARRAY_BUFFER, values);
      gl.enableVertexAttribArray(where);
      gl.vertexAttribPointer(where, width, kind, true, 0, 0);
    }
    buffer(gl, gl.ELEMENT_ARRAY_BUFFER, triangles);
    gl.bindVertexArray(null);
  }

  // Own samples for smooth outlines: a canvas with samples of its own would make the splats pay for them too.
  resize(width, height) {
    const { gl } = this;
    if (this.size[0] === width && this.size[1] === height) return;
    this.size = [width, height];
    const samples = Math.min(4, gl.getParameter(gl.MAX_SAMPLES));
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.target);
    for (const [made, format, role] of [
      [this.pixels, gl.RGBA8, gl.COLOR_ATTACHMENT0],
      [this.depth, gl.DEPTH_COMPONENT24, gl.DEPTH_ATTACHMENT],
    ]) {
      gl.bindRenderbuffer(gl.RENDERBUFFER, made);
      gl.renderbufferStorageMultisample(gl.RENDERBUFFER, samples, format, width, height);
      gl.framebufferRenderbuffer(gl.FRAMEBUFFER, role, gl.RENDERBUFFER, made);
    }
  }

  draw(camera, width, height, ground) {
    const { gl } = this;
    this.resize(width, height);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.target);
    gl.enable(gl.DEPTH_TEST);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    useCamera(gl, this.program, camera, width, height);
    gl.uniform1f(this.program.places.ground, ground);
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    gl.bindVertexArray(this.state);
    gl.drawElements(gl.TRIANGLES, this.count, this.kind, 0);
    gl.bindVertexArray(null);
    gl.disable(gl.DEPTH_TEST);
    gl.bindFramebuffer(gl.READ_FRAMEBUFFER, this.target);
    gl.bindFramebuffer(gl.DRAW_FRAMEBUFFER, null);
    gl.blitFramebuffer(0, 0, width, height, 0, 0, width, height, gl.COLOR_BUFFER_BIT, gl.NEAREST);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    return true;
  }

  drop() {}
}
