# shellcheck shell=bash disable=SC2034  # read by run.sh
# MUSAN: noise, music and speech to augment other corpora with. Nothing is trained on it, so that
#   ./run.sh --corpus musan
# downloads it (11 GB), unpacks it to egs/musan/data/musan and stops; then give other corpora --musan egs/musan/data/musan.
prepare=local/prepare_musan.py
prepare_options=(root url) # run.sh passes --NAME VALUE of these on to it
stop_stage=0
test_sets=()
recipe=default # conf/recipes/default.yaml
