# Every command that a person or the CI runs.

set shell := ["bash", "-euo", "pipefail", "-c"]

export PATH := env("CARGO_HOME", env("HOME", "") / ".cargo") / "bin:" + env("PATH")

target := env("CARGO_TARGET_DIR", justfile_directory() / "target")
python := target / "python"
node := justfile_directory() / "e2e/node"

# List the recipes.
default:
    @just --list --unsorted

# Everything that must pass before a change is offered.
test: setup setup-python setup-node fmt-check lint tidy unit e2e

# While working: what needs no processes.
quick: fmt-check lint tidy unit

# Format all sources.
fmt:
    cargo fmt --all

# Are all sources formatted?
fmt-check:
    cargo fmt --all --check

# Clippy, with every warning an error.
lint:
    cargo clippy --locked --workspace --all-targets -- -D warnings

# The rules of the house over the sources: floors, fences, names, tests that assert.
tidy:
    cargo nextest run --locked -p quorate-e2e --test tidy

# All tests that need no process of the service, and the examples in the documentation.
unit:
    cargo nextest run --locked --workspace --exclude quorate-e2e
    cargo nextest run --locked -p quorate-e2e --lib
    cargo test --locked --workspace --doc --quiet

# Real processes and real sockets; with a name, only the tests that carry it.
e2e name="":
    cargo build --locked -p quorate
    cargo build --locked -p quorate-client --examples
    QUORATE_PYTHON="{{ python }}/bin/python" QUORATE_NODE="{{ node }}" QUORATE_BIN="{{ target }}/debug/quorate" cargo nextest run --locked -p quorate-e2e -E 'kind(test) and not binary(tidy) and not binary(planted){{ if name == "" { "" } else { " and test(" + name + ")" } }}'

# The dashboard in a real browser (installs chromium if the system's packages have it).
browser name="": setup-browser
    cargo build --locked -p quorate
    QUORATE_BROWSER=required QUORATE_BIN="{{ target }}/debug/quorate" cargo nextest run --locked -p quorate-e2e -E 'binary(/^dashboard/)' {{ name }}

# Pictures of every page, light and dark, 360 and 1280 px wide, into a folder.
screenshots folder="target/screenshots": setup-browser
    cargo build --locked -p quorate
    mkdir -p {{ folder }}
    QUORATE_SCREENSHOT="$(realpath {{ folder }})" QUORATE_BROWSER=required QUORATE_BIN="{{ target }}/debug/quorate" cargo nextest run --locked --run-ignored all -p quorate-e2e -E 'binary(dashboard_pictures) or test(on_the_page_of_its_change)'

# The long proofs, with the program as it ships; with a name, only the tests that carry it.
prove name="": setup setup-python setup-node
    cargo build --locked --release -p quorate
    cargo build --locked --release -p quorate-client --examples
    QUORATE_PROVE=1 QUORATE_PYTHON="{{ python }}/bin/python" QUORATE_NODE="{{ node }}" QUORATE_BIN="{{ target }}/release/quorate" cargo nextest run --locked --profile prove --success-output final -p quorate-e2e -p quorate-testkit -E 'kind(test) and not binary(tidy) and not binary(planted){{ if name == "" { "" } else { " and test(" + name + ")" } }}'
    {{ if name == "" { quote(just_executable()) + " mutants" } else { "" } }}

# Is each bug that can be planted in the server found? Builds one that holds them, apart from all others.
mutants name="": setup
    RUSTFLAGS="--cfg quorate_bugs" CARGO_TARGET_DIR="{{ target }}/bugs" cargo build --locked -p quorate
    QUORATE_BUGS_BIN="{{ target }}/bugs/debug/quorate" cargo nextest run --locked -p quorate-e2e --test planted {{ name }}

# Measure: `just bench --help` tells what.
bench *args:
    cargo run --locked --release -p quorate -- bench {{ args }}

# Three replicas on this machine, with traffic and a dashboard.
demo *args:
    cargo run --locked --release -p quorate -- demo {{ args }}

# One replica, a complete service with its data in ./quorate-data.
run *args:
    cargo run --locked --release -p quorate -- serve --bootstrap --data quorate-data {{ args }}

# The documentation of the code; a broken link is an error.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps

# Licences, bans and sources of all dependencies; known advisories where the database can be reached.
deny:
    command -v cargo-deny > /dev/null || env -u CARGO_TARGET_DIR cargo install --locked cargo-deny
    cargo deny --locked check bans licenses sources
    if cargo deny --locked fetch db; then cargo deny --locked check advisories; else echo "advisories: not checked, the database cannot be reached"; fi

# Install what the tests need and the machine lacks; does nothing the second time.
setup:
    @cargo fmt --version > /dev/null 2>&1 || rustup component add rustfmt
    @cargo clippy --version > /dev/null 2>&1 || rustup component add clippy
    @command -v cargo-nextest > /dev/null || env -u CARGO_TARGET_DIR cargo install --locked cargo-nextest

# What the tests in Python need, in a folder of its own; does nothing the second time.
setup-python:
    #!/usr/bin/env bash
    set -euo pipefail
    wanted=e2e/python/requirements.txt
    if cmp --silent "$wanted" "{{ python }}/installed.txt"; then exit; fi
    # Debian has Python without what makes such a folder.
    python3 -c "import ensurepip, venv" 2> /dev/null || {{ quote(just_executable()) }} install-package python3-venv
    python3 -m venv --clear "{{ python }}"
    "{{ python }}/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: --requirement "$wanted"
    cp "$wanted" "{{ python }}/installed.txt"

# What the tests in Node need, beside its lock file; does nothing the second time.
setup-node:
    #!/usr/bin/env bash
    set -euo pipefail
    if cmp --silent "{{ node }}/package-lock.json" "{{ node }}/node_modules/installed.json"; then exit; fi
    command -v node > /dev/null || {{ quote(just_executable()) }} install-package nodejs
    command -v npm > /dev/null || {{ quote(just_executable()) }} install-package npm
    npm ci --prefix "{{ node }}" --ignore-scripts --no-audit --no-fund --loglevel=error
    # The suite's runner wants a newer one than some systems have: the registry has that as a package.
    if [ "$(node -p 'process.versions.node.split(".")[0]')" -lt 20 ]; then
        newer="node-linux-$(node -p process.arch)@22.23.3"
        npm install --prefix "{{ node }}" --no-save --no-package-lock --ignore-scripts --no-audit --no-fund --loglevel=error "$newer"
    fi
    cp "{{ node }}/package-lock.json" "{{ node }}/node_modules/installed.json"

# Install chromium from the system's packages; says so if that cannot be done.
setup-browser: setup
    @command -v chromium > /dev/null || just install-package chromium

[private]
install-package name:
    #!/usr/bin/env bash
    set -euo pipefail
    root=""
    if [ "$(id -u)" != 0 ]; then
        command -v sudo > /dev/null || { echo "{{ name }} is not installed, and only root may install it" >&2; exit 1; }
        root=sudo
    fi
    command -v apt-get > /dev/null || { echo "{{ name }} is not installed: install it with this system's packages" >&2; exit 1; }
    $root apt-get update -q
    DEBIAN_FRONTEND=noninteractive $root apt-get install -qy --no-install-recommends {{ name }}
