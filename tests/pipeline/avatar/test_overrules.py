"""What a user may say of an avatar, and what a hostile file says instead."""

from __future__ import annotations

import json
import os
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline.avatar.methods import cache_inputs, explain_no_effect
from portrait360.pipeline.avatar.overrules import (
    MOST_BYTES,
    NOTHING,
    Overrules,
    check_tree,
    find_changes,
    find_choices,
    find_range,
    make_overrules,
    read_tree,
)
from portrait360.pipeline.avatar.photo.overruled_photo import (
    NO_CONFLICT,
    find_conflict,
    leave_out_conflict,
    leave_out_things,
)
from portrait360.pipeline.avatar.photo.pixels import VOID, Photo
from portrait360.pipeline.batch.inputs import Item
from portrait360.pipeline.batch.runner import item_key
from portrait360.pipeline.options import MakeOptions
from portrait360.synth.meshes import make_mesh, with_label
from portrait360.synth.sampling.parameters import Fantasy, Hair, HeadParameters, Statue, Toon, Wear
from portrait360.synth.sampling.sampler import sample
from portrait360.synth.scene import Light, Material, Part, Scene
from portrait360.utils.errors import UserError
from portrait360.utils.portrait_labels import Label

FOCAL = 3.0
WRONG = {  # a file: words of the sentence about it
    '{"hare": {}}': "there is no parameter 'hare'; choose from seed, kind",
    '{"hair": {"lenght": 1}}': "in hair there is no parameter 'lenght'; choose from style",
    '{"hair": {"style": "bobb"}}': "hair.style cannot be 'bobb'; did you mean bob, ",
    '{"wear": {"hat": "fedorra"}}': "wear.hat cannot be 'fedorra'; did you mean fedora, ",
    '{"wear": {"necklace": "gold"}}': "wear.necklace cannot be 'gold'; choose from chain, pearls, ",
    '{"hair": {"length": "long"}}': "hair.length must be a number from 0.1 to 4, not 'long'",
    '{"hair": {"length": true}}': "hair.length must be a number from 0.1 to 4, not true",
    '{"hair": {"length": 9}}': "hair.length must be a number from 0.1 to 4, not 9",
    '{"hair": {"length": null}}': "hair.length must be a number",
    '{"hair": {"length": NaN}}': "NaN is out of range",
    '{"hair": {"length": -Infinity}}': "-Infinity is out of range",
    '{"hair": {"length": 1e999}}': "hair.length must be a number",
    '{"hair": {"length": ' + "9" * 400 + "}}": "not a number with so many digits",
    '{"hair": {"length": ' + "9" * 5000 + "}}": "is not JSON",
    '{"hair": {"colour": [0.1, 0.2]}}': "hair.colour must be a list of 3 numbers, not 2 of them",
    '{"hair": {"colour": [0.1, 0.2, 7]}}': "hair.colour must be a number from 0 to 1, not 7",
    '{"hair": {"colour": "red"}}': "hair.colour must be a list of 3 numbers, not 'red'",
    '{"hair": "bob"}': "hair must be an object",
    '{"hair": {"style": {"style": "bob"}}}': "hair.style must be a word, not an object",
    '{"hair": {"style": "bob"}, "hair": {}}': "names 'hair' twice",
    '{"wear": {"nose_stud": 1}}': "wear.nose_stud must be true or false, not 1",
    '{"skin": {"moles": 1.5}}': "skin.moles must be a whole number",
    '{"kind": "animal"}': "cannot be an animal",
    '{"animal": {"species": "fox"}}': "cannot be an animal",
    '{"shape": {"morphs": {"nose": []}}}': "shape.morphs must be a number",
    '{"shape": {"scan": [' + "1," * 500 + "1]}}": "shape.scan must be a list",
    '["hair"]': "contains a list, not parameters",
    "7": "contains 7, not parameters",
    "": "is not JSON",
    '{"hair": {"style": "bob"}': "is not JSON",
    "[" * 100_000: "nested too deeply",
    '{"hair":' * 20_000: "nested too deeply",
}

WORDS = (
    *("kind", "hair.style", "facial.beard", "clothes.collar", "clothes.pattern", "fantasy.horns", "statue.stone"),
    *("wear.hat", "wear.glasses", "wear.earrings", "wear.necklace"),
)


@pytest.fixture
def write(tmp_path):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "parameters.json"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[:40])
def test_a_wrong_file_is_one_plain_sentence(write, text):
    path = write(text)
    with pytest.raises(UserError) as caught:
        read_tree(path)
    sentence = str(caught.value)
    assert WRONG[text] in sentence and sentence.startswith(str(path)) and "\n" not in sentence
    assert len(sentence) < len(str(path)) + 1200


def test_a_large_a_binary_and_a_missing_file_are_one_plain_sentence(write, tmp_path):
    with pytest.raises(UserError, match="larger than 1 MB"):
        read_tree(write(b" " * (MOST_BYTES + 1)))
    with pytest.raises(UserError, match="is not JSON"):
        read_tree(write(os.urandom(64) + b"\xff"))
    with pytest.raises(UserError, match="There is no file"):
        read_tree(tmp_path / "none.json")


def test_a_part_of_the_tree_changes_that_part_alone(write):
    tree = read_tree(write('\ufeff{"hair": {"style": "bob", "length": 1}, "clothes": {"colour": [0, 0.1, 0.3]}}'))
    before = replace(sample(7, "human"), hair=Hair(style="crew", length=0.8))
    after = Overrules(tree).apply(before)
    assert after.hair == replace(before.hair, style="bob", length=1.0)
    assert after.clothes == replace(before.clothes, colour=(0.0, 0.1, 0.3))
    assert replace(after, hair=before.hair, clothes=before.clothes) == before
    assert find_changes(before, after) == {"hair.style", "hair.length", "clothes.colour"}
    assert find_changes(before, before) == frozenset()


@pytest.mark.parametrize("kind", ["human", "toon", "fantasy", "statue"])
def test_every_head_can_be_written_and_passed_back(kind):
    for seed in range(12):
        parameters = sample(seed, kind)
        tree = check_tree(json.loads(parameters.to_json()), "head")
        assert Overrules(tree).apply(HeadParameters()) == parameters


def test_a_head_of_another_kind_has_the_parts_of_that_kind():
    person, statue = HeadParameters(), HeadParameters(kind="statue", statue=Statue(stone="gold"))
    assert Overrules({"kind": "toon"}).apply(person).toon == Toon()
    assert Overrules({"statue": {"stone": "gold"}}).apply(person).kind == "statue"
    again = Overrules({"kind": "human"}).apply(statue)
    assert again.kind == "human" and again.statue is None
    assert Overrules(json.loads(person.to_json())).apply(statue) == person


def test_every_range_and_choice_is_of_a_place_in_the_tree():
    parts = {f.name: getattr(HeadParameters(), f.name) for f in fields(HeadParameters)}
    parts |= {"statue": Statue(), "fantasy": Fantasy(), "toon": Toon()}
    parts = {name: part for name, part in parts.items() if is_dataclass(part)}
    words = [f"{a}.{b}" for a, part in parts.items() for b, v in vars(part).items() if isinstance(v, str)]
    assert set(words) | {"kind"} == set(WORDS)  # every word of the tree has its choices
    assert find_range("hair.colour") == (0, 1) and find_range("toon.steps") == (0, 16)
    assert find_range("hair.hairline.height") == (-1, 1) and find_range("hair.hairline.temples") == (0, 1)
    for place in WORDS:
        for name in find_choices(place) or ():
            tree = name if "." not in place else {place.split(".")[1]: name}
            if name != "animal":
                check_tree({place.split(".")[0]: tree}, "tree")


def test_options_say_the_style_and_the_length(write):
    path = write('{"hair": {"style": "bob", "volume": 1.2}, "facial": {"beard": "none"}}')
    overrules = make_overrules("long", 1.5, path)
    assert overrules.tree["hair"] == {"style": "long", "volume": 1.2} and overrules.hair_length == 1.5
    assert overrules.style == "long" and overrules.names_hair and bool(overrules)
    assert not NOTHING and not Overrules({"hair": {"grey": 0.5}}).names_hair
    near = (
        r"hair=bobb. is not a hairstyle; did you mean bob, \w+ or \w+\? `portrait360 make --hair list` lists all 82"
    )
    with pytest.raises(UserError, match=near):
        make_overrules("bobb", None, None)
    for factor in (float("nan"), -1.0, 50.0):
        with pytest.raises(UserError, match="hair_length"):
            make_overrules(None, factor, None)
    with pytest.raises(UserError, match="hair="):
        MakeOptions(hair="bobb").validate()
    with pytest.raises(UserError, match="`hair=bob` only works for avatars"):
        MakeOptions(hair="bob", method="completed").validate()


def test_what_is_overruled_is_part_of_the_cache_key(write, proxy, tmp_path):
    plain = cache_inputs("avatar", 0)
    assert cache_inputs("avatar", 0, overrules=NOTHING) == plain
    one, two = (cache_inputs("avatar", 0, overrules=make_overrules(name, None, None)) for name in ("bob", "long"))
    longer = cache_inputs("avatar", 0, overrules=make_overrules("bob", 1.2, None))
    assert len({json.dumps(inputs, sort_keys=True) for inputs in (plain, one, two, longer)}) == 4
    path = write('{"wear": {"hat": "beanie"}}')
    options = MakeOptions(parameters=path)
    before = item_key(Item("photo.jpg"), options), MakeOptions(parameters=path).record()
    path.write_text('{"wear": {"hat": "fedora", "glasses": "round"}}')
    assert item_key(Item("photo.jpg"), options) != before[0] and options.record() != before[1]
    assert explain_no_effect(proxy, make_overrules(None, None, path)) and explain_no_effect(proxy, NOTHING) is None


def plain_photo(labels: np.ndarray) -> Photo:
    flat = np.ones(labels.shape, np.float32)
    rgb = np.full((*labels.shape, 3), 0.5, np.float32)
    flow = np.zeros((*labels.shape, 2), np.float32)
    return Photo(rgb, rgb, flat, flat, labels, flat, flow, Camera(look_at(0), FOCAL))


def plate(label: Label, width: float) -> Scene:
    corners = np.array([[-width, -0.4, 0], [width, -0.4, 0], [width, 0.4, 0], [-width, 0.4, 0]], np.float32)
    mesh = make_mesh(corners, np.array([[0, 1, 2], [0, 2, 3]], np.int32), (0.5,) * 3, Material.CLOTH, Part.CLOTHES)
    keys = np.zeros((0, 3), np.float32)
    return Scene(tuple(with_label([mesh], label)), (), Light(np.ones((9, 3), np.float32), keys, keys, keys[:, 0]))


def test_what_contradicts_the_users_words_is_left_out_of_the_photo():
    labels = np.full((96, 96), Label.BACKGROUND, np.uint8)
    labels[10:86, 20:76] = Label.HAIR
    photo = plain_photo(labels)
    hair = NO_CONFLICT.with_hair(is_other=False)
    drawn = leave_out_conflict(photo, plate(Label.HAIR, 0.3), hair).labels
    assert (drawn[30:66, 40:56] == Label.HAIR).all()  # where both are hair, the photo stays
    assert (drawn[labels == Label.HAIR] == VOID).any()
    assert (leave_out_conflict(photo, plate(Label.HAT, 0.3), hair).labels[labels == Label.HAIR] == VOID).all()
    other = leave_out_conflict(photo, plate(Label.HAIR, 0.3), NO_CONFLICT.with_hair(is_other=True)).labels
    assert (other[labels == Label.HAIR] == VOID).all()
    looks = leave_out_conflict(photo, plate(Label.HAIR, 0.3), find_conflict(["hair.colour"])).labels
    assert (looks[labels == Label.HAIR] == VOID).all()
    with_hat, without = (HeadParameters(wear=Wear(hat=hat)) for hat in ("cap", "none"))
    labels[:10] = Label.HAT
    bare = leave_out_things(plain_photo(labels), with_hat, without).labels
    assert (bare[:10] == VOID).all() and (bare[30:66, 40:56] == Label.HAIR).all()


def test_changes_conflict_with_the_labels_that_they_are_of():
    assert not find_conflict(["hair.style", "seed", "shape.age", "pose.turn"])
    assert find_conflict(["wear.hat"]).shapes == {Label.HAT, Label.HAIR} and not find_conflict(["wear.hat"]).looks
    assert find_conflict(["wear.hat_colour"]).looks == {Label.HAT}
    assert find_conflict(["facial.beard_length"]).shapes == {Label.BEARD}
    assert find_conflict(["clothes.colour", "clothes.collar"]).looks == {Label.CLOTHES}
    assert find_conflict(["eyes.iris"]).looks == {Label.EYE}
    assert Label.FACE in find_conflict(["skin.tone"]).looks and find_conflict(["skin.lips"]).looks == {Label.LIPS}
