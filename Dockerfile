# cxremb for a cluster. The image holds programs and nothing of a collection: stores, films and weights are mounted.
#
#     docker build -t cxremb:cuda .                                # torch with CUDA, as pip finds it
#     docker build -t cxremb --build-arg TORCH_INDEX=ADDRESS .     # torch from another index, such as that for processors
#
# How to run it, word by word: docs/cluster.md.

ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
# the index of pip that has the torch you want; empty: the usual one, whose torch is built for CUDA
ARG TORCH_INDEX=""
# ray as well, for a Ray cluster
ARG EXTRAS=dicom,openvino,ray
WORKDIR /source
# the file that says which versions work together, first: it changes less often than the source
COPY constraints.txt ./
RUN python -m venv /opt/cxremb
ENV PATH=/opt/cxremb/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# torch and torchvision must come from one place: the usual one is built for CUDA and takes 3 GB of its libraries
RUN pip install --only-binary :all: -c constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch torchvision
COPY pyproject.toml setup.py README.md LICENSE ./
COPY cxremb cxremb
COPY embed_jobs embed_jobs
COPY stores/queries stores/queries
RUN pip install --only-binary :all: -c constraints.txt ".[$EXTRAS]"

FROM python:${PYTHON}-slim-bookworm
COPY --from=build /opt/cxremb /opt/cxremb
# Whoever runs it may name another user (`--user`), who has no home here: caches go to HOME, which all may write.
ENV PATH=/opt/cxremb/bin:$PATH HOME=/tmp CXREMB_STORES=/stores HF_HOME=/hub
RUN useradd --uid 1000 --no-create-home cxremb && install -d -o 1000 -g 1000 /stores /hub
# a number: a cluster that runs nobody as root can tell
USER 1000
WORKDIR /tmp
ENTRYPOINT ["cxremb"]
CMD ["--help"]
