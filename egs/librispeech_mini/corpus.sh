# shellcheck shell=bash disable=SC2034  # read by run.sh
# Mini LibriSpeech: half a gigabyte of real speech, a few dozen readers. Enough to see that everything works, too little
# for a good model. Type
#   ./run.sh --corpus librispeech_mini
# to download it, or with --root /corpora to use /corpora/LibriSpeech/train-clean-5 and dev-clean-2.
prepare=local/prepare_librispeech.py
prepare_values=(--subset mini)
prepare_options=(root url) # run.sh passes --NAME VALUE of these on to it
train_set=train
valid_set=valid
test_sets=(test)
recipe=folders # conf/recipes/folders.yaml
augment=       # conf/augment/$augment.yaml; empty: noise with --musan, otherwise none, or --augment NAME
musan=         # a folder shaped like MUSAN, for augmentation; empty: none, or --musan DIR
rirs=          # a folder of room responses, for augmentation; empty: none, or --rirs DIR
