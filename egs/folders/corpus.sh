# shellcheck shell=bash disable=SC2034  # read by run.sh
# Your own recordings, in folders named after their speakers: speaker/utterance.wav or speaker/session/utterance.wav,
# in wav, flac, ogg, mp3 or m4a. Type
#   ./run.sh --corpus folders --root /data/speakers
# and a tenth of the speakers are held out for testing. --test-speakers FILE and --trials FILE define a protocol of your
# own; --test-only true puts all speakers into the test set, to score them with an existing model.
prepare=local/prepare_folders.py
prepare_options=(root test-speakers trials valid-speakers test-only) # run.sh passes --NAME VALUE of these on to it
train_set=train
valid_set=valid
test_sets=(test)
recipe=folders # conf/recipes/folders.yaml
augment=       # conf/augment/$augment.yaml; empty: noise with --musan, otherwise none, or --augment NAME
musan=         # a folder shaped like MUSAN, for augmentation; empty: none, or --musan DIR
rirs=          # a folder of room responses, for augmentation; empty: none, or --rirs DIR
