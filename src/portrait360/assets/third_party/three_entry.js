// What viewer.html needs of three.js; README.md says how three.min.js is made of it.
export {
  BackSide, BufferAttribute, CanvasTexture, Color, DirectionalLight, DoubleSide, Mesh, MeshBasicMaterial,
  MeshPhysicalMaterial, MeshStandardMaterial, NeutralToneMapping, PCFShadowMap, PerspectiveCamera,
  PlaneGeometry, PMREMGenerator, REVISION, Scene, SphereGeometry, SRGBColorSpace, TextureLoader,
  Vector3, WebGLRenderer,
} from "three";
export { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
export { OrbitControls } from "three/addons/controls/OrbitControls.js";
