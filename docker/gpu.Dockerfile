# Both stages on an NVIDIA GPU; vLLM's own image has CUDA, torch and vLLM of versions that go together.
#   docker build -f docker/gpu.Dockerfile -t mipd-pipe:gpu .
#   docker run --rm --gpus all --ipc=host --user "$(id -u):$(id -g)" -e HOME=/tmp -v "$PWD:/work" mipd-pipe:gpu run -c ov-swig --set data.root=DIR
FROM vllm/vllm-openai:v0.32.0

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

COPY pyproject.toml README.md LICENSE /src/
COPY cache /src/cache
COPY stages /src/stages
COPY pipeline /src/pipeline
COPY configs /src/configs
RUN python3 -m pip install "/src[gpu,ray]" && rm -r /src

RUN useradd --uid 10001 --create-home mipd
USER 10001
WORKDIR /work
ENTRYPOINT ["mipd-pipe"]
CMD ["--help"]
