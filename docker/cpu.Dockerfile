# Stage two, and stage one with the template, captions or server engine; no GPU.
#   docker build -f docker/cpu.Dockerfile -t mipd-pipe:cpu .
#   docker run --rm --user "$(id -u):$(id -g)" -e HOME=/tmp -v "$PWD:/work" mipd-pipe:cpu run -c demo
FROM python:3.12-slim-bookworm

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

# torch first, from the index that holds builds without CUDA: they are a tenth of the size.
RUN pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu

COPY pyproject.toml README.md LICENSE constraints.txt /src/
COPY cache /src/cache
COPY stages /src/stages
COPY pipeline /src/pipeline
COPY configs /src/configs
RUN pip install --constraint /src/constraints.txt "/src[cpu]" && rm -r /src

RUN useradd --uid 10001 --create-home mipd
USER 10001
WORKDIR /work
ENTRYPOINT ["mipd-pipe"]
CMD ["--help"]
