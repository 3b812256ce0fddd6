// What the page holds: splats and a mesh, unpacked only when they are shown.

async function unpack(text) {
  const letters = atob(text), packed = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) packed[i] = letters.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

// Pictures are decoded by the browser from the file's own bytes, as the page may fetch nothing.
function readGlb(bytes) {
  const loader = new THREE.GLTFLoader();
  loader.register((parser) => {
    parser.textureLoader = new THREE.TextureLoader(parser.options.manager);
    return { name: "pictures_without_fetch" };
  });
  return loader.parseAsync(bytes, "");
}

function saveBlob(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function fileName(ending) {
  const plain = document.title.replace(/[^\p{L}\p{N} _.-]/gu, "").trim().replace(/^\.+/, "").slice(0, 60);
  return `${plain || "portrait360"}.${ending}`;
}
