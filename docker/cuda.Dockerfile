# The image for NVIDIA GPUs: torch's usual build brings CUDA, and gsplat compiles its kernels on first use with nvcc.
#   docker build -f docker/cuda.Dockerfile -t portrait360:cuda .
#   docker run --rm --gpus all -v "$PWD":/work portrait360:cuda make photo.jpg -o out
FROM nvidia/cuda:12.8.1-devel-ubuntu24.04
RUN apt-get update && apt-get install -y --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY pyproject.toml README.md LICENSE NOTICE /build/
COPY src /build/src
RUN pip install --no-cache-dir "/build[web,gpu]" && rm -rf /build \
    && useradd --create-home someone && mkdir -p /work && chown someone /work
USER someone
WORKDIR /work
ENTRYPOINT ["portrait360"]
