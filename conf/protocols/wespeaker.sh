# shellcheck shell=bash disable=SC2034,SC2154  # read by run.sh, which sets data, train_set and embeddings
# The evaluation of WeSpeaker's recipe for VoxCeleb (github.com/wenet-e2e/wespeaker, examples/voxceleb/v2). Figures that
# it published on the cleaned list of VoxCeleb1 (its README): EER 0.867 % of ResNet34 without normalisation; 0.723 %,
# minDCF 0.069, of the same fine-tuned with large margins and normalised. To evaluate one of its models:
#   steps/import_checkpoint.py avg_model.pt egs/voxceleb/exp/resnet34/final.pt --from wespeaker
#   ./run.sh --corpus voxceleb --feature wespeaker80 --stage 1 --stop-stage 1
#   ./run.sh --corpus voxceleb --name resnet34 --stage 4 --protocol wespeaker
#
# What differs: for the mean and the cohort it embeds a random crop of each training utterance, of 2 s or, after the
# fine tuning, 6 s. Here these utterances are whole, like those of the trials, and the figures the same at every run.
# Its calibration with quality measures is no part of this.

extract_options=() # whole utterances

score_options=(--mean "$embeddings/$train_set/embedding.scp") # cosines after subtracting the mean of the training set
enrol_options=()                                              # VoxCeleb has no enrolments of several utterances

# The 300 training speakers nearest to each side count, of 5,994, or all of them if there are fewer. A speaker is the
# mean of its embeddings as they are, from which the mean of the training set is subtracted then.
norm=${norm:-asnorm}
norm_options=(--cohort-utt2spk "$data/$train_set/utt2spk" --cohort-average mean)
[ "$norm" != asnorm ] || norm_options+=(--top-n auto:300)

# p_target 0.01, c_miss = c_fa = 1. Its EER is interpolated like that of stage 7, but for tied trials.
metrics_options=(--priors 0.01)
