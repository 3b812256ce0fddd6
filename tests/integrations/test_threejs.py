"""The lines of three.js in the docs: in a real browser they open a head, make it smile and turn it."""

import base64
import re

import pytest

from tests.fixtures.chromium import FOUND, Chromium, Tab
from tests.fixtures.paths import ROOT
from tests.fixtures.tiny_avatar import pack_tiny_avatar

THREE = ROOT / "src" / "portrait360" / "assets" / "third_party" / "three.min.js"
IMPORT = 'import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";\n'
PAGE = """<!doctype html><meta charset="utf-8"><script>{library}</script><script type="module">
const {{ GLTFLoader, Scene }} = THREE, scene = new Scene();
const bytes = Uint8Array.from(atob("{head}"), letter => letter.charCodeAt(0));
const file = URL.createObjectURL(new Blob([bytes]));
{lines}
const skin = scene.getObjectByName("skin");
window.found = {{
  smile: skin.morphTargetInfluences[skin.morphTargetDictionary.mouthSmileLeft],
  jaw: skin.morphTargetInfluences[skin.morphTargetDictionary.jawOpen],
  neck: scene.getObjectByName("head").rotation.y,
}};
</script>"""


@pytest.mark.skipif(FOUND is None, reason="no Chromium on this machine")
def test_the_lines_of_the_docs_work(tmp_path):
    lines = re.search(r"```js\n(.*?)```", (ROOT / "docs" / "formats.md").read_text(encoding="utf-8"), re.S)[1]
    assert lines.startswith(IMPORT) and '"head.glb"' in lines
    example = (ROOT / "examples" / "threejs.html").read_text(encoding="utf-8")
    assert IMPORT in example and lines.removeprefix(IMPORT).strip() in example
    lines = lines.removeprefix(IMPORT).replace('"head.glb"', "file")
    head = base64.b64encode(pack_tiny_avatar()).decode()
    page = PAGE.format(library=THREE.read_text(encoding="utf-8"), head=head, lines=lines)
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    with Chromium(tmp_path / "profile") as browser:
        tab = Tab(browser, 400, 300)
        tab.open(tmp_path / "page.html")
        wait = (
            "new Promise(done => { const look = () => window.found ? done(found) : setTimeout(look, 50); look(); })"
        )
        assert tab.run(wait) == pytest.approx({"smile": 0.7, "jaw": 0.0, "neck": 0.3})
