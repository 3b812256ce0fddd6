# The CPU image. Build from the repository's root; TORCH_INDEX is the CPU index that pytorch.org names:
#   docker build -f docker/cpu.Dockerfile --build-arg TORCH_INDEX=... -t portrait360 .
#   docker run --rm -v "$PWD":/work portrait360 make photo.jpg -o out
FROM python:3.12.11-slim-bookworm
ARG TORCH=torch==2.13.0
ARG TORCH_INDEX
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "$TORCH"
COPY pyproject.toml README.md LICENSE NOTICE /build/
COPY src /build/src
RUN pip install --no-cache-dir "/build[web]" && rm -rf /build \
    && useradd --create-home someone && mkdir -p /work && chown someone /work
USER someone
WORKDIR /work
ENTRYPOINT ["portrait360"]
