#!/usr/bin/env bash
# The main job on real pictures, with the commands that a person would type: get, train, index, query, measure.
#
# `make demo` calls it. What a step has finished stays, so that after Ctrl-C the next run goes on from there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export PATH=$PWD/.venv/bin:$PATH

begun=$SECONDS
bold='' plain=''
if [ -t 1 ]; then
    bold=$'\033[1m' plain=$'\033[0m'
fi
trap 'printf "\nStopped. \`make demo\` goes on from here.\n" >&2; exit 130' INT

step() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
run() {
    printf '$ %s\n' "$*"
    "$@"
}

step "1. Real pictures with labels: CIFAR-10, 60,000 photographs of ten kinds of things"
name=cifar10 code=0
run retrieval data cifar10 --to data || code=$?
if [ $code -eq 1 ]; then
    name=digits
    step "CIFAR-10 CANNOT BE HAD HERE (see above). The demo goes on with 1,797 handwritten digits that come with scikit-learn."
    printf '%s\n' "Everything below works the same, but the task is far easier: the figures say little about photographs."
    run retrieval data digits --to data
elif [ $code -ne 0 ]; then
    exit $code
fi

step "2. Train an embedding: pictures of one class close together, others far away"
run python train_triplet.py data/$name.h5 --out runs/$name --minutes 5 --resume

step "3. The test pictures, which the training never saw, as a folder of picture files"
run retrieval data data/$name.h5 --export data/$name-test --split test

step "4. Index that folder, as one would any folder of pictures"
run python build_index.py data/$name-test --model runs/$name --out indexes/$name

step "5. Query it with a picture of every other class"
# the first picture file of each folder, and of those every other one
queries=$(find data/$name-test -name '*.png' | LC_ALL=C sort |
    awk '{ folder = $0; sub("/[^/]*$", "", folder) } !(folder in seen) { seen[folder]; if (n++ % 2) print }')
# shellcheck disable=SC2086  # one word a picture: the names were made here and have no spaces
run python query.py indexes/$name $queries --save demo.png

step "6. Measure how good the answers are"
run retrieval evaluate runs/$name data/$name.h5 --save runs/$name/report.json
right=$(python -c 'import json, sys; print(round(100 * json.load(open(sys.argv[1]))["measures"]["P@10"]["value"]))' \
    runs/$name/report.json)

step "7. Learn what a score means, and put everything on one page"
run retrieval calibrate indexes/$name
run retrieval report indexes/$name -o report.html --run runs/$name

# Pictures of the person's own, if they are where most people have them.
pictures=${HOME:-~}/Pictures
photo=$(find "$pictures" -iname '*.jpg' -print 2>/dev/null | head -n 1 || true)
step "Done in $(((SECONDS - begun) / 60)) min $(((SECONDS - begun) % 60)) s. Asked with pictures that the training never saw, $right in 100 of the first ten hits are right."
printf '%s\n' "The retrieved pictures are in demo.png, the report is report.html."
cat <<END

Next, with your own pictures (no training needed, a good encoder for photographs is built in):

  source .venv/bin/activate
  retrieval build ~/Pictures
  retrieval query indexes/Pictures $(printf %q "${photo:-PHOTO.jpg}") --save hits.png --open
  retrieval train FOLDER_WITH_ONE_FOLDER_PER_CLASS --out runs/mine

Every command explains itself: retrieval --help, retrieval query --help
END
