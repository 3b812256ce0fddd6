// How the head's surface is shown: lit, as clay, as normals, or as wires.

// Only the alpha of a texture counts, so that cards of hair keep their outline.
const ALPHA_ONLY = "#ifdef USE_MAP\n diffuseColor.a *= texture2D(map, vMapUv).a;\n#endif";

// How much of a pixel a card of hair covers: its edges and tips are soft, and hair is no thinner from afar, where textures
// are averages of hair and nothing.
const COVERAGE = `#ifdef USE_ALPHATEST
  vec2 texel = vMapUv * vec2(textureSize(map, 0));
  float far = max(0.5 * log2(max(dot(dFdx(texel), dFdx(texel)), dot(dFdy(texel), dFdy(texel)))), 0.0);
  float dense = diffuseColor.a * (1.0 + 0.25 * far);
  diffuseColor.a = clamp((dense - alphaTest) / max(fwidth(dense), 0.4) + 0.5, 0.0, 1.0);
  if (diffuseColor.a < 0.1) discard;
#endif`;

// Cards of hair keep the normals of the head of hair: those seen from behind would be dark patches,
// and those whose normals look away would glitter.
function hairShader(shader) {
  shader.fragmentShader = shader.fragmentShader.replace("#include <alphatest_fragment>", COVERAGE).replace(
    "#include <normal_fragment_begin>", "#include <normal_fragment_begin>\nnormal = normalize(vNormal);\n"
      + "vec3 toEye = normalize(vViewPosition);\nnormal = normalize(normal + max(0.2 - dot(normal, toEye), 0.0) * toEye);",
  );
}

// Bright light is compressed as in the avatar's own pictures, and nothing is taken from the dark.
const SHOULDER = `#ifdef TONE_MAPPING
  gl_FragColor.rgb *= toneMappingExposure;
  vec3 excess = clamp((gl_FragColor.rgb - 0.55) / 3.45, 0.0, 1.0);
  gl_FragColor.rgb = mix(gl_FragColor.rgb, 1.0 - 0.45 * pow(1.0 - excess, vec3(3.45 / 0.45)), step(0.55, gl_FragColor.rgb));
#endif`;

function toneShader(shader) {
  shader.fragmentShader = shader.fragmentShader.replace("#include <tonemapping_fragment>", SHOULDER);
}

function litHairShader(shader) { hairShader(shader); toneShader(shader); }

function clayShader(shader) {
  shader.fragmentShader = shader.fragmentShader.replace("#include <map_fragment>", ALPHA_ONLY);
}

function normalShader(shader) {
  shader.fragmentShader = shader.fragmentShader
    .replace("#include <map_fragment>", ALPHA_ONLY)
    .replace("#include <opaque_fragment>", "gl_FragColor = vec4(normal * 0.5 + 0.5, diffuseColor.a);")
    .replace("#include <colorspace_fragment>", "");
}

// Coverage is an alpha below 1, which must not stay in the canvas: what is behind the page would brighten all edges of hair.
const COVERED = { // the numbers are three's CustomBlending, OneFactor and ZeroFactor
  alphaToCoverage: true, blending: 5, blendSrc: 201, blendDst: 200, blendSrcAlpha: 200, blendDstAlpha: 201,
};
const STRANDS = { anisotropy: 0.6, anisotropyRotation: Math.PI / 2 }; // highlights lie across them

// The same function for all materials of a kind, so that they share a program.
const SHADERS = { plain: { clay: clayShader, normals: normalShader }, hair: {} };
for (const kind in SHADERS.plain) {
  SHADERS.hair[kind] = (shader) => { SHADERS.plain[kind](shader); hairShader(shader); };
}

function wearShader(material, shader, key) {
  material.onBeforeCompile = shader;
  material.customProgramCacheKey = () => key;
}

// Eyes are wet: lights are seen in them.
function wet(lit) {
  if (!/^eye/.test(lit.name) || lit.isMeshPhysicalMaterial) return lit;
  const { name, map, side, color, roughness } = lit;
  return new THREE.MeshPhysicalMaterial({ name, map, side, color, roughness, ior: 1.45, specularIntensity: 0.6 });
}

class Surfaces {
  constructor(meshes, studio) {
    this.studio = studio;
    this.parts = meshes.map((mesh) => ({ mesh, ...this.makeMaterials(wet(mesh.material)) }));
    this.show("lit");
  }

  makeMaterials(lit) {
    this.improve(lit);
    const isHair = lit.alphaTest > 0, shaders = SHADERS[isHair ? "hair" : "plain"];
    const shape = { side: lit.side, ...(isHair && { alphaTest: lit.alphaTest, map: lit.map, ...COVERED }) };
    const clay = new THREE.MeshStandardMaterial({ ...shape, color: "#b9aca2", roughness: 0.75 });
    wearShader(clay, shaders.clay, `clay ${isHair}`);
    const normals = new THREE.MeshStandardMaterial({ ...shape, toneMapped: false });
    wearShader(normals, shaders.normals, `normals ${isHair}`);
    const fill = new THREE.MeshBasicMaterial({
      color: "#2b2f36", toneMapped: false, side: lit.side, polygonOffset: true, polygonOffsetFactor: 1,
      polygonOffsetUnits: 1,
    });
    const wires = new THREE.MeshBasicMaterial({ color: "#9fd0ff", toneMapped: false, wireframe: true });
    if (isHair) wires.color.set("#c9a26a");
    return { lit, clay, normals, fill, wires };
  }

  // What a file of glTF cannot say: smooth edges of hair, and highlights along its strands.
  improve(lit) {
    if (lit.alphaTest > 0) {
      Object.assign(lit, COVERED);
      wearShader(lit, litHairShader, "lit hair");
      if (lit.isMeshPhysicalMaterial) Object.assign(lit, { ...STRANDS, specularIntensity: 0.03 });
    } else if (lit.isMeshBasicMaterial) lit.toneMapped = false; // it holds the light already
    else wearShader(lit, toneShader, "lit");
    if (lit.map) lit.map.anisotropy = Math.min(8, this.studio.renderer.capabilities.getMaxAnisotropy());
  }

  show(mode) {
    this.mode = mode;
    this.studio.show(mode === "lit");
    this.wear(mode === "wireframe" ? "fill" : mode);
  }

  wear(kind) {
    for (const part of this.parts) part.mesh.material = part[kind];
  }

  // Hidden wires stay hidden: the surface is drawn first, in one colour, a little farther away.
  draw(camera) {
    const { renderer, scene } = this.studio;
    renderer.render(scene, camera);
    if (this.mode !== "wireframe") return;
    const background = scene.background;
    this.wear("wires");
    scene.background = null;
    renderer.autoClear = false;
    renderer.render(scene, camera);
    renderer.autoClear = true;
    scene.background = background;
    this.wear("fill");
  }
}
