"""Files that ship with the package, found by name."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent

# networks of others (NOTICE)
FACE_DETECTOR = FOLDER / "third_party" / "yunet_2023mar.onnx"
FACE_GENDER = FOLDER / "third_party" / "face_gender.onnx"
FACE_LANDMARKS = FOLDER / "third_party" / "face_landmarks_detector.tflite"
FOREGROUND = FOLDER / "third_party" / "u2netp.onnx"

# linear models and geometry, made by `training.linear_models`
FACE_MODEL = FOLDER / "face_model.npz"
FACE_PARTS = FOLDER / "face_parts.npz"  # the same modes over eyes, lashes, teeth and tongue
HAIR_MODEL = FOLDER / "hair_model.npz"
HEAD_PACK = FOLDER / "head_pack.npz"
POSE_READOUT = FOLDER / "pose_readout.safetensors"
SCAN_FIT = FOLDER / "scan_fit.npz"  # landmarks and expressions on such heads
SCAN_SHAPES = FOLDER / "scan_shapes.npz"  # statistics of real heads
TURNED_LANDMARKS = FOLDER / "turned_landmarks.npz"  # how they drift as a face turns
STRANGER = FOLDER / "stranger"  # the proxy of a synthetic head, which control networks are shown

# the small model's networks; those that do not ship are found here once a user has trained them
READER = FOLDER / "small" / "reader.safetensors"
COMPLETER = FOLDER / "small" / "completer.safetensors"
VIEW_DENOISER = FOLDER / "small" / "views.safetensors"
HYBRID_PRIORS = FOLDER / "small" / "hybrid.safetensors"

VIEWER = FOLDER / "viewer"
THREE = FOLDER / "third_party" / "three.min.js"
