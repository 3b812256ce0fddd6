"""Files that ship with the package, found by name."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
FACE_DETECTOR = FOLDER / "third_party" / "yunet_2023mar.onnx"
FACE_LANDMARKS = FOLDER / "third_party" / "face_landmarks_detector.tflite"
FOREGROUND = FOLDER / "third_party" / "u2netp.onnx"
FACE_MODEL = FOLDER / "face_model.npz"
HAIR_MODEL = FOLDER / "hair_model.npz"
VIEWER = FOLDER / "viewer"
POSE_READOUT = FOLDER / "pose_readout.safetensors"
