# shellcheck shell=bash disable=SC2034  # read by run.sh
# LibriSpeech: 960 hours of 2,338 speakers for training; trials are generated from test-clean and test-other. Type
#   ./run.sh --corpus librispeech
# to download what is missing (60 GB), or with --root /corpora to use /corpora/LibriSpeech/train-clean-100 and so on.
# --subset clean100 trains on train-clean-100 alone.
prepare=local/prepare_librispeech.py
prepare_options=(root subset url) # run.sh passes --NAME VALUE of these on to it
train_set=train
valid_set=valid
test_sets=(test test_other)
recipe=default # conf/recipes/default.yaml
augment=       # conf/augment/$augment.yaml; empty: noise with --musan, otherwise none, or --augment NAME
musan=         # a folder shaped like MUSAN, for augmentation; empty: none, or --musan DIR
rirs=          # a folder of room responses, for augmentation; empty: none, or --rirs DIR
