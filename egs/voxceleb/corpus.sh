# shellcheck shell=bash disable=SC2034  # read by run.sh
# VoxCeleb1 and VoxCeleb2: trained on the development set of VoxCeleb2, tested on VoxCeleb1. Type
#   VOXCELEB_KEY=... ./run.sh --corpus voxceleb
# to download what is missing (73 GB, and some 340 GB of disk space for the unpacked and converted files), or
#   ./run.sh --corpus voxceleb --root /corpora
# to use existing folders: /corpora/voxceleb1/{dev,test}/wav and /corpora/voxceleb2/dev/aac (or wav, if converted).
# --train-on vox1 needs VoxCeleb1 only; --trials O,E,H tests on more lists. See local/prepare_voxceleb.py --help.
# For training in noise and rooms: ./run.sh --corpus musan and --corpus rirs once, then
#   ./run.sh --corpus voxceleb --augment voxceleb_trainer --musan egs/musan/data/musan --rirs egs/rirs/data/RIRS_NOISES
prepare=local/prepare_voxceleb.py
prepare_options=(root train-on trials train-list encoding url meta-url login) # run.sh passes --NAME VALUE of these on
train_set=train
valid_set=valid
test_sets=(test)
recipe=default # conf/recipes/default.yaml
augment=       # conf/augment/$augment.yaml; empty: noise with --musan, otherwise none, or --augment NAME
musan=         # a folder shaped like MUSAN, for augmentation; empty: none, or --musan DIR
rirs=          # a folder of room responses, for augmentation; empty: none, or --rirs DIR
