#!/bin/sh
# Everything that `mini` is and that `unrender evaluate claims` compares: data, autoencoder, multi-step parents,
# single-step models, cycles. The embedded weights are of other data: docs/mini.md. Some three hours on two cores for the
# networks of the claims, and some thirty for the next `mini`. Every command resumes where it was stopped, and so does this
# script; `nice -n 19` lets it run in the background.
#
#     sh examples/train_mini.sh RUNS [PHOTOS HELD_OUT]
#
# PHOTOS are real pictures for cycle training, HELD_OUT others for evaluation. FOOTAGE in the environment is a real clip, or
# a folder of them, that the video models learn from too. ASSETS in the environment is the folder that
# examples/training_assets.py unpacked: with it, the next `mini` is trained too.
set -eu
runs=${1:?"a folder for data and models"}
photos=${2:-}
held_out=${3:-}
data="--data $runs/data/train --cache $runs/cache"

unrender synth "$runs/data/test" --clips 128 --frames 1 --resolution 160 --samples 144 --lights 1 --split test --seed 0
unrender synth "$runs/data/train" --clips 1500 --frames 1 --resolution 160 --samples 36 --lights 1 --seed 0

unrender train vae $data -o "$runs/autoencoder"
unrender train pretrain $data -o "$runs/inverse-multi" --autoencoder "$runs/autoencoder/model" --steps 3500
unrender train pretrain $data -o "$runs/forward-multi" --autoencoder "$runs/autoencoder/model" --task forward \
    --steps 2000

for noise in zeros gaussian multi_resolution; do
    name=$(echo "inverse-e2e-$noise" | sed 's/-zeros//; s/multi_resolution/multi/')
    unrender train e2e $data -o "$runs/$name" --start "$runs/inverse-multi/model" --noise $noise --steps 600
done
unrender train e2e $data -o "$runs/forward-e2e" --start "$runs/forward-multi/model" --task forward --steps 1500

pair="--inverse $runs/inverse-e2e/model --forward $runs/forward-e2e/model --steps 300"
unrender train ouroboros $data -o "$runs/cycle-none" $pair --no-cycles
unrender train ouroboros $data -o "$runs/cycle" $pair
[ -z "$photos" ] || unrender train ouroboros $data -o "$runs/cycle-photos" $pair --photos "$photos"

# Pictures from words.
unrender synth "$runs/data/words" --clips 6000 --frames 1 --resolution 160 --samples 36 --lights 2 --seed 100
words="--data $runs/data/words --cache $runs/cache"
unrender train vae $words -o "$runs/autoencoder-photos" --recipe photos
unrender train text-to-image $words -o "$runs/text-to-image" --autoencoder "$runs/autoencoder-photos/model"

# Views that agree (ViewDiff), and without one or the other of its layers. A step takes 4.4 s of a core at 64 pixels with
# projection layers, 0.2 s without.
unrender synth "$runs/data/sets" --clips 1500 --frames 1 --resolution 128 --samples 36 --cameras 5 --seed 300
unrender synth "$runs/data/sets-test" --clips 16 --frames 1 --resolution 128 --samples 144 --cameras 8 --split test
sets="--data $runs/data/sets --base $runs/text-to-image/model --steps 600"
unrender train viewdiff $sets -o "$runs/views"
unrender train viewdiff $sets -o "$runs/views-no-projection" --projection none
unrender train viewdiff $sets -o "$runs/views-no-cross-frame" --no-cross-frame

# Video models (DiffusionRenderer), both ways; footage is labelled by the embedded `mini`. And without one thing each. A
# step takes 0.3 s of a core, that of an encoder of lights 0.15 s. A few dozen clips are learnt by heart: docs/results.md.
unrender synth "$runs/data/clips" --clips 400 --frames 8 --resolution 128 --samples 36 --lights 1 --seed 400
unrender synth "$runs/data/clips-test" --clips 16 --frames 8 --resolution 128 --samples 144 --lights 1 --split test
vae="--autoencoder $runs/autoencoder-photos/model"
video="--data $runs/data/clips $vae --cache $runs/cache --steps 3000"
[ -z "${FOOTAGE:-}" ] || unrender label "$FOOTAGE" -o "$runs/data/labelled" --frames 8 --resolution 128
real=${FOOTAGE:+--real $runs/data/labelled}
unrender train video-inverse $video -o "$runs/video-inverse"
unrender train env-encoder --data "$runs/data/clips" $vae -o "$runs/env-encoder"
unrender train video-forward $video $real -o "$runs/video-forward" --environment "$runs/env-encoder/model"
for picture in log direction; do
    unrender train env-encoder --data "$runs/data/clips" $vae -o "$runs/env-encoder-no-$picture" --without $picture
    unrender train video-forward $video $real -o "$runs/video-forward-no-$picture" \
        --environment "$runs/env-encoder-no-$picture/model"
done
unrender train video-forward $video $real -o "$runs/video-forward-no-levels" --environment "$runs/env-encoder/model" \
    --no-levels
[ -z "$real" ] || unrender train video-forward $video $real -o "$runs/video-forward-no-lora" \
    --environment "$runs/env-encoder/model" --no-adapter

# Photos whose truth, with an object, is known (DiPIR).
unrender synth "$runs/data/pairs" --insertion --clips 8 --seed 500

unrender evaluate claims --models "$runs" --data "$runs/data/test" ${held_out:+--photos "$held_out"} \
    --pairs "$runs/data/pairs" --views "$runs/data/sets-test" --video "$runs/data/clips-test" -o "$runs/claims.md"

# The next `mini`: worlds as varied as rooms and streets, and hours. The forward renderer is `forward-e2e` with detail.
[ -n "${ASSETS:-}" ] || exit 0
assets="--assets $ASSETS/furniture --hdris $ASSETS/hdris --normals $ASSETS/normals"
unrender synth "$runs/data/worlds" --clips 15000 --frames 1 --resolution 192 --samples 36 --lights 2 --seed 200 $assets
unrender synth "$runs/data/held-out" --clips 256 --frames 1 --resolution 192 --samples 144 --lights 1 --split test $assets
worlds="--data $runs/data/worlds --cache $runs/packed"
unrender train e2e $worlds -o "$runs/mini" --recipe long --start mini --hours 12
unrender train detail $worlds -o "$runs/mini-detail" --start "$runs/mini/model" --hours 4
unrender train detail $worlds -o "$runs/forward-detail" --task forward --hint screen_space --start "$runs/forward-e2e/model" --hours 4
for model in "$runs/mini-detail/model" mini; do unrender evaluate maps --model "$model" --data "$runs/data/held-out"; done
