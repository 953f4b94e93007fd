# shellcheck shell=bash disable=SC2034,SC2154  # read by run.sh, which sets data
# The demo corpus: speech-like audio that Vouch synthesises, the same in every run. Nothing is downloaded.
prepare=local/prepare_demo.py
prepare_options=(seed speakers sessions utterances) # run.sh passes --NAME VALUE of these on to it
train_set=train
valid_set=valid
test_sets=(test)
recipe=demo           # conf/recipes/demo.yaml
augment=              # conf/augment/$augment.yaml; empty: noise with a folder of noises, otherwise none
musan=$data/musan     # a MUSAN-shaped folder for augmentation; empty: none
rirs=                 # a folder of room responses for augmentation; empty: none
