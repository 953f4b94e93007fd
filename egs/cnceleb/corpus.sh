# shellcheck shell=bash disable=SC2034  # read by run.sh
# CN-Celeb1 and CN-Celeb2: Chinese celebrities in eleven genres; an enrolment is the mean over several utterances. Type
#   ./run.sh --corpus cnceleb
# to download what is missing, or with --root /corpora to use /corpora/CN-Celeb_flac and /corpora/CN-Celeb2_flac.
# --train-on cnceleb1 needs CN-Celeb1 only; --enrolment concatenated enrols with one long recording of each speaker.
prepare=local/prepare_cnceleb.py
prepare_options=(root train-on enrolment url) # run.sh passes --NAME VALUE of these on to it
train_set=train
valid_set=valid
test_sets=(test)
recipe=default # conf/recipes/default.yaml
augment=       # conf/augment/$augment.yaml; empty: noise with --musan, otherwise none, or --augment NAME
musan=         # a folder shaped like MUSAN, for augmentation; empty: none, or --musan DIR
rirs=          # a folder of room responses, for augmentation; empty: none, or --rirs DIR
