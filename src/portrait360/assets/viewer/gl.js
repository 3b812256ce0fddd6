// What splats and mesh share: shaders, and how a camera sees a place.

const NEAR = 0.01;
const GONE = -0.6, WHOLE = -0.46; // heights between which a bust fades: it is cut off at -.62, below any framed view

// As cameras.py: x right, y down, z forward; `focal` is in pixels, so pixels are square in any window.
const SEEN = `#version 300 es
precision highp float;
uniform mat3 view;
uniform float radius, focal;
uniform vec2 size;
float kept(vec3 place) { return smoothstep(${GONE}, ${WHOLE}, place.y); }
vec3 seen(vec3 place) { return view * place + vec3(0, 0, radius); }
vec4 clip(vec3 local) {
  vec2 xy = 2.0 * focal / size * local.xy;
  return vec4(xy.x, -xy.y, local.z - ${2 * NEAR}, local.z);
}
`;

function compile(gl, vertex, fragment) {
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, SEEN + vertex], [gl.FRAGMENT_SHADER, fragment]]) {
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
  const places = {};
  for (const name of ["view", "radius", "focal", "size", "table", "order", "picture", "ground"]) {
    places[name] = gl.getUniformLocation(program, name);
  }
  return { program, places };
}

function useCamera(gl, { program, places }, camera, width, height) {
  gl.useProgram(program);
  gl.uniformMatrix3fv(places.view, true, camera.axes());
  gl.uniform1f(places.radius, camera.radius);
  gl.uniform1f(places.focal, camera.focal(width, height));
  gl.uniform2f(places.size, width, height);
}

function buffer(gl, kind, values) {
  const made = gl.createBuffer();
  gl.bindBuffer(kind, made);
  gl.bufferData(kind, values, gl.STATIC_DRAW);
  return made;
}
