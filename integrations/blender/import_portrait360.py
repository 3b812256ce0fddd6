"""Import a head of portrait360 into Blender 4.2 or later, ready to animate and to render.

As an add-on: Edit > Preferences > Add-ons > Install from Disk, then File > Import > portrait360 head (.glb).
As a script: blender --python import_portrait360.py -- head.glb

Blender's own importer brings meshes, textures, joints and shape keys. This script adds what glTF cannot say: hair
with soft edges, one slider for each expression, and a target that the eyes follow.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy  # pyright: ignore[reportMissingImports]

bl_info = {
    "name": "portrait360 head",
    "author": "The authors of portrait360",
    "version": (0, 1, 0),
    "blender": (4, 2, 0),
    "location": "File > Import > portrait360 head (.glb)",
    "description": "Imports a head with hair materials, expressions and an eye target",
    "category": "Import-Export",
}

STRANDS = ("hair", "lashes")  # materials of thin things; brows and beard are of hair, too
TWO_SIDED = (*STRANDS, "undercoat", "cloth")
ANISOTROPY = 0.5  # of hair: highlights run across the strands
DISTANCE = 0.6  # metres from the eyes to their target
FULL_LOOK = 0.5  # radians of an eye's rotation at which ARKit's look shapes are fully on
LOOKS = {  # shape keys of the lids: axis of the eye's rotation, and the sign for the left and the right eye
    "eyeLookDown": ("X", (1, 1)),
    "eyeLookUp": ("X", (-1, -1)),
    "eyeLookIn": ("Z", (-1, 1)),
    "eyeLookOut": ("Z", (1, -1)),
}


@dataclass(frozen=True)
class ImportedHead:
    """The objects of one import; `skin` and `rig` are None if the file is no avatar."""

    objects: tuple[Any, ...]
    rig: Any | None
    skin: Any | None
    eyes: dict[str, Any]
    target: Any | None = None


def import_head(path: str | Path, *, eye_target: bool = True) -> ImportedHead:
    """Import head.glb and set it up."""
    path = Path(path)
    if path.suffix.lower() != ".glb" or not path.is_file():
        raise FileNotFoundError(f"{path} is not a .glb file; choose the head.glb that portrait360 wrote.")
    before = set(bpy.data.objects)
    bpy.ops.import_scene.gltf(filepath=str(path), disable_bone_shape=True)
    objects = tuple(sorted(set(bpy.data.objects) - before, key=lambda item: item.name))
    head = describe_head(objects)
    for material in {slot.material for item in objects for slot in item.material_slots if slot.material}:
        set_up_material(material)
    if head.skin is None:
        return head
    connect_expressions(head)
    if head.rig is not None:
        for bone in head.rig.pose.bones:
            bone.rotation_mode = "XYZ"
        if eye_target and len(head.eyes) == 2:
            return add_eye_target(head)
    return head


def describe_head(objects: tuple[Any, ...]) -> ImportedHead:
    """Find the parts by the names that portrait360 gives them; Blender adds .001 to names that are taken."""
    meshes = {base_name(item.name): item for item in objects if item.type == "MESH"}
    rig = next((item for item in objects if item.type == "ARMATURE"), None)
    eyes = {side: meshes[f"eye_{side}"] for side in ("left", "right") if f"eye_{side}" in meshes}
    return ImportedHead(objects, rig, meshes.get("skin"), eyes)


def base_name(name: str) -> str:
    stem, _, number = name.rpartition(".")
    return stem if stem and number.isdigit() else name


def set_up_material(material: Any) -> None:
    """Show thin things from both sides, and hair with the soft edges of its texture instead of a hard cut."""
    name = base_name(material.name)
    if name not in TWO_SIDED or material.node_tree is None:
        return
    material.use_backface_culling = False
    if hasattr(material, "use_backface_culling_shadow"):
        material.use_backface_culling_shadow = False
    if hasattr(material, "surface_render_method"):  # EEVEE since 4.2; "dithered" needs no sorting
        material.surface_render_method = "DITHERED"
    if name in STRANDS:
        soften_edges(material.node_tree)


def soften_edges(tree: Any) -> None:
    """Connect the texture's alpha with the shader directly."""
    shader = next((node for node in tree.nodes if node.bl_idname == "ShaderNodeBsdfPrincipled"), None)
    image = next((node for node in tree.nodes if node.bl_idname == "ShaderNodeTexImage"), None)
    if shader is None:
        return
    shader.inputs["Anisotropic"].default_value = ANISOTROPY
    if image is None or not shader.inputs["Alpha"].is_linked:
        return
    for link in list(shader.inputs["Alpha"].links):
        tree.links.remove(link)
    tree.links.new(image.outputs["Alpha"], shader.inputs["Alpha"])
    for node in [node for node in tree.nodes if node.bl_idname in ("ShaderNodeMath", "NodeFrame")]:
        tree.nodes.remove(node)  # the importer's cut of the alpha


def connect_expressions(head: ImportedHead) -> None:
    """Let lashes, teeth, tongue and beard follow the skin's shape keys."""
    assert head.skin is not None
    source = head.skin.data.shape_keys
    if source is None:
        return
    for item in head.objects:
        keys = item.data.shape_keys if item.type == "MESH" and item != head.skin else None
        for block in keys.key_blocks[1:] if keys else ():
            if block.name in source.key_blocks:
                variable = add_driver(block, "value").variables.new()
                variable.name, variable.type = "value", "SINGLE_PROP"
                variable.targets[0].id_type = "KEY"
                variable.targets[0].id = source
                variable.targets[0].data_path = f'key_blocks["{block.name}"].value'


def add_driver(block: Any, field: str, expression: str = "value") -> Any:
    """Drive a property by an expression so simple that Blender needs no permission to run scripts."""
    block.driver_remove(field)
    driver = block.driver_add(field).driver
    driver.type, driver.expression = "SCRIPTED", expression
    return driver


def add_eye_target(head: ImportedHead) -> ImportedHead:
    """Let both eyes look at an empty in front of the face, and the lids move with them."""
    left, right = head.eyes["left"], head.eyes["right"]
    bpy.context.view_layer.update()  # places in the world are known only then
    middle = (left.matrix_world.translation + right.matrix_world.translation) / 2
    target = add_empty("eye_target", "SPHERE", 0.02)
    target.parent = head.rig
    target.matrix_world.translation = middle
    target.location.y -= DISTANCE  # the face looks along -y
    rest = add_empty("eye_rest", "PLAIN_AXES", 0.01)  # where an eye without a target would look
    rest.parent, rest.parent_type, rest.parent_bone = left.parent, left.parent_type, left.parent_bone
    rest.matrix_world = left.matrix_world.copy()
    rest.hide_set(True)
    rest.hide_render = True
    for number, (side, eye) in enumerate(head.eyes.items()):
        constraint = eye.constraints.new("DAMPED_TRACK")
        constraint.target, constraint.track_axis = target, "TRACK_NEGATIVE_Y"
        still_eye(eye)
        for look, (axis, signs) in LOOKS.items():
            move_lid(head, eye, rest, f"{look}{side.capitalize()}", axis, signs[number])
    return ImportedHead(head.objects, head.rig, head.skin, head.eyes, target)


def add_empty(name: str, shape: str, size: float) -> Any:
    empty = bpy.data.objects.new(name, None)
    empty.empty_display_type, empty.empty_display_size = shape, size
    bpy.context.collection.objects.link(empty)
    return empty


def still_eye(eye: Any) -> None:
    """The target turns the eye; its shape keys would turn it once more."""
    keys = eye.data.shape_keys
    for block in keys.key_blocks[1:] if keys else ():
        block.driver_remove("value")
        block.value = 0.0


def move_lid(head: ImportedHead, eye: Any, rest: Any, name: str, axis: str, sign: int) -> None:
    """Drive a shape key of the skin by the eye's rotation relative to the head."""
    assert head.skin is not None
    keys = head.skin.data.shape_keys
    if keys is None or name not in keys.key_blocks:
        return
    turn = "eye - rest" if sign > 0 else "rest - eye"
    driver = add_driver(keys.key_blocks[name], "value", f"max(0, min(1, ({turn}) / {FULL_LOOK}))")
    for label, item in (("eye", eye), ("rest", rest)):
        variable = driver.variables.new()
        variable.name, variable.type = label, "TRANSFORMS"
        variable.targets[0].id = item
        variable.targets[0].transform_type = f"ROT_{axis}"
        variable.targets[0].transform_space = "WORLD_SPACE"


class ImportPortrait360Head(bpy.types.Operator):
    """Import a head that portrait360 made."""

    bl_idname = "import_scene.portrait360"
    bl_label = "Import portrait360 head"
    bl_options = {"REGISTER", "UNDO"}

    filepath: bpy.props.StringProperty(subtype="FILE_PATH")  # type: ignore[valid-type]
    filter_glob: bpy.props.StringProperty(default="*.glb", options={"HIDDEN"})  # type: ignore[valid-type]
    eye_target: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="Eye target", description="Add an object that the eyes follow", default=True
    )

    def invoke(self, context: Any, event: Any) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: Any) -> set[str]:
        try:
            import_head(self.filepath, eye_target=self.eye_target)
        except (FileNotFoundError, RuntimeError) as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}


def draw_menu(menu: Any, context: Any) -> None:
    menu.layout.operator(ImportPortrait360Head.bl_idname, text="portrait360 head (.glb)")


def register() -> None:
    bpy.utils.register_class(ImportPortrait360Head)
    bpy.types.TOPBAR_MT_file_import.append(draw_menu)


def unregister() -> None:
    bpy.types.TOPBAR_MT_file_import.remove(draw_menu)
    bpy.utils.unregister_class(ImportPortrait360Head)


if __name__ == "__main__":
    register()
    for name in sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else ():
        import_head(name)
