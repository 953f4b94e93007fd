# shellcheck shell=bash disable=SC2034  # read by run.sh
# RIRS_NOISES: simulated and recorded room impulse responses. Nothing is trained on it, so that
#   ./run.sh --corpus rirs
# downloads it, unpacks the small and medium rooms to egs/rirs/data/RIRS_NOISES and stops; --parts says which parts. Then
# give other corpora --rirs egs/rirs/data/RIRS_NOISES.
prepare=local/prepare_rirs.py
prepare_options=(root parts url) # run.sh passes --NAME VALUE of these on to it
stop_stage=0
test_sets=()
recipe=default # conf/recipes/default.yaml
