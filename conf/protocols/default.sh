# shellcheck shell=bash disable=SC2034,SC2154  # read by run.sh, which sets data and train_set
# What run.sh does unless told otherwise: whole utterances, cosines, adaptive s-norm against the training speakers.
# To add a protocol, copy this file: ./run.sh --protocol NAME reads conf/protocols/NAME.sh. It says which options the
# scripts of stages 4 to 7 get; what each does is in their --help. Besides these, $embeddings is the folder of stage 4.

extract_options=() # stage 4: whole utterances, from what the model takes
score_options=()   # stages 5 and 6: the cosine of the embeddings as they are
enrol_options=()   # stages 5 and 6, for test sets with an enrol_map: the mean direction stands for an enrolment

# Stage 6: the 300 training speakers nearest to each side, or all of them if there are fewer.
norm=${norm:-asnorm} # unless --norm says otherwise; none: no normalisation
norm_options=(--cohort-utt2spk "$data/$train_set/utt2spk")

metrics_options=() # stage 7: the EER, minDCF at the priors 0.01 and 0.05
