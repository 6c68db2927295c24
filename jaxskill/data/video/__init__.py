"""Video files: names, containers, time stamps, frames, optical flow, persons."""
